//! The packet filter, tried by a real container that knocks at everything, against networks that the test makes itself.

use std::net::{SocketAddr, TcpListener};

use super::site::{Site, docker, docker_is_wanted, program};

/// A network beyond the host: a namespace with its own address, reached over a pair of virtual cables.
struct Beyond {
    name: String,
    near: String,
}

impl Beyond {
    /// `net`: the first three numbers of a /24; the host has .1 and the other side .2.
    fn new(tag: &str, net: &str) -> Beyond {
        let beyond = Beyond { name: format!("rnt-{tag}"), near: format!("rnt-{tag}-a") };
        let far = format!("rnt-{tag}-b");
        for line in [
            format!("netns add {}", beyond.name),
            format!("link add {} type veth peer name {far} netns {}", beyond.near, beyond.name),
            format!("addr add {net}.1/24 dev {}", beyond.near),
            format!("link set {} up", beyond.near),
            format!("-n {} addr add {net}.2/24 dev {far}", beyond.name),
            format!("-n {} link set {far} up", beyond.name),
            format!("-n {} link set lo up", beyond.name),
            format!("-n {} route add default via {net}.1", beyond.name),
        ] {
            let (well, text) = program("ip", &line.split(' ').collect::<Vec<_>>());
            assert!(well, "ip {line}: {text}");
        }
        beyond
    }

    /// Listens on this port in there.
    fn listen(&self, port: &str) -> Listening {
        let arguments = ["netns", "exec", &self.name, "/bin/busybox", "nc", "-ll", "-p", port, "-e", "/bin/busybox", "true"];
        Listening(std::process::Command::new("ip").args(arguments).spawn().unwrap())
    }
}

impl Drop for Beyond {
    fn drop(&mut self) {
        program("ip", &["link", "del", &self.near]);
        program("ip", &["netns", "del", &self.name]);
    }
}

struct Listening(std::process::Child);

impl Drop for Listening {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// Can the game of this server connect there?
fn reaches(game: &str, address: &str, port: &str) -> bool {
    program("docker", &["exec", game, "/busybox", "nc", "-w", "2", address, port, "-e", "/busybox", "true"]).0
}

#[tokio::test]
async fn a_game_reaches_the_internet_and_nothing_private() {
    if !docker_is_wanted("a_game_reaches_the_internet_and_nothing_private") {
        return;
    }
    super::busybox::image();
    let mut site = Site::open(true).await;
    let mut spec = site.demo();
    spec.image = super::busybox::IMAGE.to_owned();
    let script = "/busybox nc -ll -p 7777 -e /busybox echo hello";
    spec.args = ["/busybox", "sh", "-c", script].map(str::to_owned).to_vec();
    spec.stop.signal = "SIGKILL".to_owned();
    site.prepare(&spec).await;
    site.start(&spec.server).await;
    let (other, _) = site.prepared().await;
    site.start(&other.server).await;
    let game = format!("roost-{}-game", spec.server);
    let address = |name: &str| docker(&["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.Gateway}}{{end}}", name]);
    let (own, gateway) = address(&game).split_once(' ').map(|(own, gateway)| (own.to_owned(), gateway.to_owned())).unwrap();

    let tag = &site.panel.as_str()[..5];
    let internet = Beyond::new(&format!("i{tag}"), "198.51.100");
    let private = Beyond::new(&format!("p{tag}"), "192.168.231");
    let _listeners = [internet.listen("4000"), private.listen("4000")];
    let host = TcpListener::bind("0.0.0.0:0").unwrap();
    let host_port = host.local_addr().unwrap().port().to_string();

    // Ready once the listeners are: the host may reach both.
    for net in ["198.51.100.2:4000", "192.168.231.2:4000"] {
        let there: SocketAddr = net.parse().unwrap();
        let up = async { while tokio::net::TcpStream::connect(there).await.is_err() {} };
        tokio::time::timeout(super::site::PATIENCE, up).await.expect("the test's own network answers");
    }
    assert!(reaches(&game, "198.51.100.2", "4000"), "the internet stays reachable");
    assert!(reaches(&game, &own, "7777"), "the game itself answers");
    for (what, address, port) in [
        ("a private network", "192.168.231.2", "4000"),
        ("the host by its bridge", gateway.as_str(), host_port.as_str()),
        ("the host by a public address", "198.51.100.1", host_port.as_str()),
        ("the host by another private address", "192.168.231.1", host_port.as_str()),
        ("another server's game", address(&format!("roost-{}-game", other.server)).split(' ').next().unwrap(), "7777"),
        (
            "another server's sidecar",
            address(&format!("roost-{}-door", other.server)).split(' ').next().unwrap(),
            &other.ports[0].public.to_string(),
        ),
        ("cloud metadata", "169.254.169.254", "80"),
    ] {
        assert!(!reaches(&game, address, port), "{what} at {address}:{port} was reached");
    }
    // The way in works: a client is served through the sidecar.
    let mut client = tokio::net::TcpStream::connect(("127.0.0.1", spec.ports[0].public)).await.unwrap();
    let mut text = [0; 5];
    tokio::io::AsyncReadExt::read_exact(&mut client, &mut text).await.unwrap();
    assert_eq!(&text, b"hello");

    // Somebody flushes the hook: it is put back before the next start.
    let pool = site.config.subnet_pool.clone();
    let hooks = || {
        program("iptables", &["-t", "mangle", "-S", "FORWARD"])
            .1
            .lines()
            .filter(|line| line.contains(&pool))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let hook = hooks();
    assert_eq!(hook.len(), 1, "hooked once, however often it was checked: {hook:?}");
    program("iptables", &hook[0].replacen("-A", "-t mangle -D", 1).split(' ').collect::<Vec<_>>());
    assert!(reaches(&game, "192.168.231.2", "4000"), "it is the rules that keep the game in");
    site.until("the hook's return", |_| (hooks().len() == 1).then_some(())).await;
}
