//! The console: what the game wrote, once each, over interruptions; and what is written to it.

use std::time::{Duration, Instant};

use roost::model::games::Ready;
use roost::model::ids::ServerId;
use roost::model::servers::Seen;
use roost::wire::agent::{EventKind, LINES_MAX, LogLine, ToNode};
use roost::wire::spec::InstanceSpec;

use super::site::{PATIENCE, Site, docker, docker_is_wanted};

fn tail(server: &ServerId, after: Option<u64>, lines: u32, follow_secs: u32) -> ToNode {
    ToNode::TailLogs { server: server.clone(), after, lines, follow_secs }
}

/// All log lines heard since the `from`th event, once one of them contains this text; and whether a gap was admitted.
async fn until(site: &mut Site, from: usize, text: &str) -> (Vec<LogLine>, bool) {
    let wait = async {
        loop {
            let (mut all, mut gaps) = (Vec::new(), false);
            for event in &site.events[from..] {
                if let EventKind::Log { lines, gap, .. } = &event.kind {
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
    let script = "/busybox seq 1 3000; /busybox printf 'a\\rb\\377\\n'; /busybox head -c 20000 /dev/zero | /busybox tr '\\0' x; echo; echo over; exec /busybox sleep 600";
    let spec = shell(&mut site, script, "over");
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

/// A game of the shell's own, ready by this word.
fn shell(site: &mut Site, script: &str, word: &str) -> InstanceSpec {
    super::busybox::image();
    let mut spec = site.demo();
    super::busybox::IMAGE.clone_into(&mut spec.image);
    spec.args = ["/busybox", "sh", "-c", script].map(str::to_owned).to_vec();
    spec.ready = Ready::LogLine { contains: word.to_owned() };
    "SIGKILL".clone_into(&mut spec.stop.signal);
    spec
}

/// Everything of the log so far, and the line that is begun.
fn heard(site: &Site, from: usize) -> (Vec<String>, Option<String>) {
    let (mut all, mut begun) = (Vec::new(), None);
    for event in &site.events[from..] {
        if let EventKind::Log { lines, open, .. } = &event.kind {
            all.extend(lines.iter().map(|line| line.text.clone()));
            begun.clone_from(open);
        }
    }
    (all, begun)
}

/// Waits until this is begun, or nothing is.
async fn begun(site: &mut Site, from: usize, open: Option<&str>) {
    let wait = async {
        while heard(site, from).1.as_deref() != open {
            site.next().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited for {open:?} as begun"));
}

#[tokio::test]
async fn the_last_line_of_a_run_is_its_own_and_only_this_runs_word_makes_ready() {
    if !docker_is_wanted("the_last_line_of_a_run_is_its_own_and_only_this_runs_word_makes_ready") {
        return;
    }
    let mut site = Site::open(false).await;
    // The first run says its word without a line break and never another one; the second takes its time to say it.
    let script = "if [ -e /data/again ]; then echo hello; /busybox sleep 2; echo; echo room open; \
                  else echo > /data/again; echo first; /busybox printf 'room open'; fi; exec /busybox sleep 600";
    let spec = shell(&mut site, script, "room open");
    let server = spec.server.clone();
    site.prepare(&spec).await;
    site.start(&server).await;
    site.send(tail(&server, None, 100, 60)).await;
    begun(&mut site, 0, Some("room open")).await;
    site.put_to_sleep(&server).await;
    until(&mut site, 0, "room open").await;
    begun(&mut site, 0, None).await;
    let asked = Instant::now();
    site.start(&server).await;
    assert!(asked.elapsed() >= Duration::from_secs(2), "ready by a word of the run before");
    until(&mut site, 0, "hello").await;
    let whole = ["first", "room open", "hello", "", "room open"];
    while heard(&site, 0).0.len() < whole.len() {
        site.next().await;
    }
    assert_eq!(heard(&site, 0), (whole.map(str::to_owned).to_vec(), None));
    // Read anew from the log file: the same.
    let before = site.events.len();
    site.send(tail(&server, None, 100, 0)).await;
    until(&mut site, before, "room open").await;
    assert_eq!(heard(&site, before).0, whole);
}

#[tokio::test]
async fn a_question_without_a_line_break_is_shown_answered_and_not_doubled() {
    if !docker_is_wanted("a_question_without_a_line_break_is_shown_answered_and_not_doubled") {
        return;
    }
    let mut site = Site::open(false).await;
    let spec = shell(&mut site, "/busybox printf 'Your name? '; read name; echo hello $name; exec /busybox sleep 600", "Your name?");
    site.prepare(&spec).await;
    site.start(&spec.server).await;
    site.send(tail(&spec.server, None, 100, 60)).await;
    begun(&mut site, 0, Some("Your name? ")).await;
    assert_eq!(heard(&site, 0).0, [""; 0]);
    // Somebody who comes later sees it too.
    let before = site.events.len();
    site.send(tail(&spec.server, None, 100, 60)).await;
    begun(&mut site, before, Some("Your name? ")).await;
    site.send(ToNode::ConsoleInput { server: spec.server.clone(), line: "bob".to_owned() }).await;
    until(&mut site, 0, "hello bob").await;
    begun(&mut site, 0, None).await;
    assert_eq!(heard(&site, 0).0, ["Your name? hello bob"]);
}

#[tokio::test]
async fn a_game_with_a_terminal_has_a_window_whole_lines_and_a_keyboard() {
    if !docker_is_wanted("a_game_with_a_terminal_has_a_window_whole_lines_and_a_keyboard") {
        return;
    }
    let mut site = Site::open(false).await;
    // What looks like the head of a frame, an overwritten line, one without end for a megabyte and more, and a question.
    let script = "/busybox printf '\\001\\000\\000\\000\\377\\377\\377\\377\\n'; [ -t 0 ] && [ -t 1 ] && echo a terminal; \
                  /busybox printf '10%%\\r20%%\\r\\033[2Kdone\\033]0;title\\007\\n'; \
                  /busybox head -c 1500000 /dev/zero | /busybox tr '\\0' y; echo; \
                  while [ \"$(/busybox stty size)\" = '0 0' ]; do /busybox usleep 10000; done; /busybox stty size; \
                  /busybox printf 'open> '; while read line; do [ \"$line\" = quit ] && exit 0; echo heard $line; /busybox printf 'open> '; done";
    let mut spec = shell(&mut site, script, "open>");
    spec.tty = true;
    spec.stop.command = Some("quit".to_owned());
    let server = spec.server.clone();
    site.prepare(&spec).await;
    site.start(&server).await;
    site.send(tail(&server, None, 100, 60)).await;
    begun(&mut site, 0, Some("open> ")).await;
    site.send(ToNode::ConsoleInput { server: server.clone(), line: "one two".to_owned() }).await;
    until(&mut site, 0, "heard one two").await;
    begun(&mut site, 0, Some("open> ")).await;
    let (lines, _) = heard(&site, 0);
    let long = "y".repeat(roost::wire::agent::LINE_BYTES_MAX);
    let said: Vec<&str> = lines[1..].iter().map(String::as_str).collect();
    assert_eq!(said, ["a terminal", "done", &long, "50 240", "open> one two", "heard one two"]);
    site.put_to_sleep(&server).await;
    assert_eq!(docker(&["inspect", "-f", "{{.State.ExitCode}}", &format!("roost-{server}-game")]), "0", "it ended by its own command");
}
