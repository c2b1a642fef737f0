//! The console: what the game wrote, once each, over interruptions; and what is written to it.

use roost::model::ids::ServerId;
use roost::model::servers::Seen;
use roost::wire::agent::{EventKind, LINES_MAX, LogLine, ToNode};

use super::site::{PATIENCE, Site, docker_is_wanted};

fn tail(server: &ServerId, after: Option<u64>, lines: u32, follow_secs: u32) -> ToNode {
    ToNode::TailLogs { server: server.clone(), after, lines, follow_secs }
}

/// All log lines heard since the `from`th event, once one of them contains this text; and whether a gap was admitted.
async fn until(site: &mut Site, from: usize, text: &str) -> (Vec<LogLine>, bool) {
    let wait = async {
        loop {
            let (mut all, mut gaps) = (Vec::new(), false);
            for event in &site.events[from..] {
                if let EventKind::Log { lines, gap } = &event.kind {
                    assert!(lines.len() <= LINES_MAX);
                    gaps |= gap;
                    all.extend(lines.iter().cloned());
                }
            }
            if all.iter().any(|line| line.text.contains(text)) {
                return (all, gaps);
            }
            site.next().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited for the line {text:?}"))
}

async fn say(site: &Site, server: &ServerId, text: &str) {
    site.send(ToNode::ConsoleInput { server: server.clone(), line: format!("say {text}") }).await;
}

#[tokio::test]
async fn a_log_is_followed_over_restarts_and_resumed_without_loss_or_doubling() {
    if !docker_is_wanted("a_log_is_followed_over_restarts_and_resumed_without_loss_or_doubling") {
        return;
    }
    let mut site = Site::open(false).await;
    let (spec, _) = site.prepared().await;
    let server = spec.server.clone();
    site.start(&server).await;
    site.send(tail(&server, None, 100, 60)).await;
    until(&mut site, 0, "The room is open").await;
    for n in 0..20 {
        say(&site, &server, &format!("line {n:02}\u{7}\nop me")).await;
    }
    let (seen, gap) = until(&mut site, 0, "line 19op me").await;
    assert!(!gap);
    // Asked again by somebody who has it all: nothing comes twice.
    site.send(tail(&server, seen.last().map(|line| line.seq), 100, 60)).await;
    site.put_to_sleep(&server).await;
    let again = site.events.len();
    site.start(&server).await;
    until(&mut site, again, "The room is open").await;

    // The agent is killed; what happens meanwhile is not lost.
    site.kill();
    let (seen, _) = until(&mut site, 0, "The room is open").await;
    site.switch_on();
    site.welcome().await;
    site.report("running", &server, |report| matches!(report.seen, Seen::Running { .. }).then_some(())).await;
    say(&site, &server, "while nobody looked").await;
    site.send(tail(&server, seen.last().map(|line| line.seq), 100, 60)).await;
    until(&mut site, 0, "while nobody looked").await;
    say(&site, &server, "the last one").await;
    let (seen, gap) = until(&mut site, 0, "the last one").await;
    assert!(!gap);

    assert!(seen.windows(2).all(|pair| pair[0].seq < pair[1].seq), "numbers grow: {seen:#?}");
    let before = site.events.len();
    site.send(tail(&server, None, 400, 0)).await;
    // A one-shot answer beside the follower holds everything up to where the follower is.
    let (whole, _) = until(&mut site, before, "the last one").await;
    assert_eq!(whole, seen);
    for n in 0..20 {
        assert_eq!(seen.iter().filter(|line| line.text.contains(&format!("line {n:02}"))).count(), 1);
    }
}

#[tokio::test]
async fn lost_lines_are_admitted_and_a_flood_arrives_whole() {
    if !docker_is_wanted("lost_lines_are_admitted_and_a_flood_arrives_whole") {
        return;
    }
    let mut site = Site::open(false).await;
    super::busybox::image();
    let mut spec = site.demo();
    spec.image = super::busybox::IMAGE.to_owned();
    let script = "/busybox seq 1 3000; /busybox printf 'a\\rb\\377\\n'; /busybox head -c 20000 /dev/zero | /busybox tr '\\0' x; echo; echo over; exec /busybox sleep 600";
    spec.args = ["/busybox", "sh", "-c", script].map(str::to_owned).to_vec();
    spec.ready = roost::model::games::Ready::LogLine { contains: "over".to_owned() };
    spec.stop.signal = "SIGKILL".to_owned();
    site.prepare(&spec).await;
    site.start(&spec.server).await;
    let before = site.events.len();
    site.send(tail(&spec.server, Some(1), 500, 0)).await;
    let (last, gap) = until(&mut site, before, "over").await;
    assert!(gap && last.len() == 500, "{gap} {}", last.len());
    assert_eq!(last[497].text, "b\u{fffd}");
    assert_eq!(last[498].text, "x".repeat(4_096));
    let before = site.events.len();
    site.send(tail(&spec.server, Some(last[99].seq), 500, 0)).await;
    let (resumed, gap) = until(&mut site, before, "over").await;
    assert!(!gap);
    assert_eq!(resumed, last[100..]);
}
