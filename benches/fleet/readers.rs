//! People who read pages meanwhile, at a fixed rate: a page that is slow does not make the next one wait.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use reqwest::Client;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::fill::Place;
use crate::site::Failure;

/// Servers of whoever reads.
const SERVERS: usize = 20;

/// One of the staff, with servers of their own.
pub struct Readers {
    client: Client,
    url: String,
    cookie: String,
    pages: [(&'static str, String); 4],
}

/// How long each request took, in milliseconds, by its page.
pub struct Times {
    taken: [(&'static str, Vec<f64>); 4],
}

/// In the middle, of the slowest hundredth, slowest.
type Spread = (f64, f64, f64);

fn spread(mut times: Vec<f64>) -> Spread {
    times.sort_by(f64::total_cmp);
    let at = |permille: usize| times.get((times.len() * permille / 1_000).min(times.len().saturating_sub(1))).copied().unwrap_or_default();
    (at(500), at(990), at(1_000))
}

impl Times {
    pub fn by_page(&self) -> impl Iterator<Item = (&'static str, Spread)> + '_ {
        self.taken.iter().map(|(page, times)| (*page, spread(times.clone())))
    }

    pub fn all(&self) -> Spread {
        spread(self.taken.iter().flat_map(|(_, times)| times.clone()).collect())
    }
}

impl Readers {
    /// Makes an account over the web, gives it 20 servers on as many machines and the rights to see everything.
    pub async fn sign_in(url: &str, place: &mut Place) -> Result<Readers, Failure> {
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        let account = [("email", "ada@example.org"), ("password", "correct horse battery")];
        let answer = client.post(format!("{url}/auth/register")).header("Origin", url).form(&account).send().await?;
        let cookie = answer.headers().get_all("set-cookie").iter().find_map(|value| value.to_str().ok()).ok_or("no session")?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        place.run("UPDATE users SET role = 'admin', balance = 1000000000000 WHERE email = 'ada@example.org'".to_owned()).await?;
        let ours = format!(
            "UPDATE servers SET owner = (SELECT id FROM users WHERE email = 'ada@example.org') \
            WHERE id IN (SELECT MIN(id) FROM servers GROUP BY node ORDER BY 1 LIMIT {SERVERS})"
        );
        place.run(ours).await?;
        let dashboard = client.get(format!("{url}/dashboard")).header("Cookie", &cookie).send().await?.error_for_status()?.text().await?;
        let links = dashboard.split("href=\"/servers/").skip(1).filter_map(|rest| rest.split('"').next());
        let id = links.map(str::to_owned).find(|id| id.len() == 18 && !id.contains('/')).ok_or("the dashboard shows no server")?;
        let pages = [
            ("/dashboard, 20 servers", format!("{url}/dashboard")),
            ("/servers/{id}", format!("{url}/servers/{id}")),
            ("/nodes", format!("{url}/nodes")),
            ("/admin/servers", format!("{url}/admin/servers")),
        ];
        Ok(Readers { client, url: url.to_owned(), cookie, pages })
    }

    /// Somebody has the list of machines open, for as long as what this gives is kept.
    pub async fn watch(&self) -> Result<JoinSet<()>, Failure> {
        let mut request = format!("{}/nodes/live", self.url.replacen("http", "ws", 1)).into_client_request()?;
        request.headers_mut().insert("Cookie", self.cookie.parse()?);
        request.headers_mut().insert("Origin", self.url.parse()?);
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await?;
        let mut watching = JoinSet::new();
        watching.spawn(async move { while let Some(Ok(_)) = socket.next().await {} });
        Ok(watching)
    }

    /// Asks for pages in turn; the answer is there when it is over.
    pub fn read(self, a_second: u32, length: Duration) -> impl Future<Output = Result<Times, Failure>> {
        let mut reading: JoinSet<Result<Times, String>> = JoinSet::new();
        reading.spawn(async move {
            let mut asked = JoinSet::new();
            let mut tick = tokio::time::interval(Duration::from_secs(1) / a_second);
            let begin = Instant::now();
            for n in (0..self.pages.len()).cycle() {
                tick.tick().await;
                if begin.elapsed() >= length {
                    break;
                }
                let request = self.client.get(&self.pages[n].1).header("Cookie", &self.cookie);
                asked.spawn(async move {
                    let begin = Instant::now();
                    let answer = request.send().await?.error_for_status()?;
                    let whole = answer.bytes().await?;
                    Ok::<_, reqwest::Error>((n, begin.elapsed().as_secs_f64() * 1_000.0, whole.len()))
                });
            }
            let mut times = Times { taken: self.pages.map(|(page, _)| (page, Vec::new())) };
            while let Some(done) = asked.join_next().await {
                let (n, took, _) = done.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
                times.taken[n].1.push(took);
            }
            Ok(times)
        });
        async move { Ok(reading.join_next().await.ok_or("nobody read")???) }
    }
}
