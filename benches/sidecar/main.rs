//! The sidecar beside `HAProxy` and nginx stream, on loopback, in one run: a table of medians over interleaved rounds.
//!
//! `cargo bench --no-default-features --bench sidecar -- --proxy PATH` with the path of a release build of `roost-proxy`; `HAProxy`
//! and nginx with its stream module are taken from the usual places and left out, by name, where they are missing. With `--one-core` all
//! processes share one core: on a small or busy machine, on which cores they meet decides more than what they do. Only the
//! standard library is used, so `rustc -O benches/sidecar/main.rs` does as well. Ends with code 1 where a promise is not kept.

#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people, printed and rounded"
)]

mod game;
mod held;
mod measure;
mod peers;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, exit};

use measure::Figures;
use peers::Peer;

/// Rounds over all peers, one after the other, so that a disturbance hits all of them.
const ROUNDS: usize = 9;
/// Size of each bulk transfer.
const BULK_MIB: u64 = 1_024;
/// Most memory of an idle sidecar, in KiB.
const PSS_KIB_MAX: u64 = 4_096;
/// A latency may be so many times that of the better peer.
const LATENCY_RATIO_MAX: f64 = 1.1;

struct Options {
    proxy: PathBuf,
    rounds: usize,
    held: usize,
    bulk_mib: u64,
    strict: bool,
}

fn options() -> Options {
    let proxy = PathBuf::from("target/release/roost-proxy");
    let mut options = Options { proxy, rounds: ROUNDS, held: held::CLIENTS, bulk_mib: BULK_MIB, strict: true };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| usage());
        match word.as_str() {
            "--proxy" => options.proxy = value().into(),
            "--rounds" => options.rounds = value().parse().unwrap_or_else(|_| usage()),
            "--held" => options.held = value().parse().unwrap_or_else(|_| usage()),
            "--bulk-mib" => options.bulk_mib = value().parse().unwrap_or_else(|_| usage()),
            "--report-only" => options.strict = false,
            // What `cargo bench` adds by itself, and what was done before this program was started again.
            "--bench" | "--one-core" => {}
            _anything_else => usage(),
        }
    }
    options
}

fn usage() -> ! {
    eprintln!("usage: sidecar [--proxy PATH] [--rounds N] [--held N] [--bulk-mib N] [--one-core] [--report-only]");
    exit(2)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> ExitCode {
    // Ten thousand descriptors are needed here; a shell raises the limit and starts this program again.
    if std::env::var_os("BENCH_LIMIT_RAISED").is_none() {
        let program = std::env::current_exe().expect("own path");
        let one_core = std::env::args().any(|word| word == "--one-core");
        let line = if one_core { "exec taskset -c 0 \"$0\" \"$@\"" } else { "exec \"$0\" \"$@\"" };
        let raised = Command::new("sh")
            .args(["-c", &format!("ulimit -n $(ulimit -Hn); {line}")])
            .arg(program)
            .args(std::env::args().skip(1))
            .env("BENCH_LIMIT_RAISED", "1")
            .status();
        return ExitCode::from(u8::from(!raised.is_ok_and(|status| status.success())));
    }
    let options = options();
    if !options.proxy.exists() {
        eprintln!("no {}: build it first, see the head of this file", options.proxy.display());
        return ExitCode::from(2);
    }
    let folder = std::env::temp_dir().join(format!("roost-sidecar-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for configurations");
    let kept = run(&options, &folder);
    let _ = std::fs::remove_dir_all(&folder);
    ExitCode::from(u8::from(options.strict && !kept))
}

fn run(options: &Options, folder: &Path) -> bool {
    game::start();
    let peers = peers::start_all(&options.proxy, folder);
    let mut figures: Vec<Vec<Figures>> = peers.iter().map(|_| Vec::new()).collect();
    let idle: Vec<u64> = peers.iter().map(Peer::pss_kib).collect();
    for round in 0..options.rounds {
        eprintln!("round {} of {}", round + 1, options.rounds);
        for turn in 0..peers.len() {
            // Each round begins with another one.
            let index = (turn + round) % peers.len();
            figures[index].push(measure::all(peers[index].base, options.bulk_mib << 20));
        }
    }
    let after: Vec<u64> = peers.iter().map(Peer::pss_kib).collect();
    let kept = table(&peers, &figures, &idle, &after);
    drop(peers);
    let held = held::run(&options.proxy, folder, options.held);
    kept & held
}

fn table(peers: &[Peer], figures: &[Vec<Figures>], idle: &[u64], after: &[u64]) -> bool {
    let columns = measure::NAMES;
    println!("\n{:<16}{}  PSS idle  PSS after (KiB)", "", columns.map(|name| format!("{name:>14}")).concat());
    let mut medians = Vec::new();
    for (index, peer) in peers.iter().enumerate() {
        let row: Vec<f64> = (0..columns.len()).map(|column| median(figures[index].iter().map(|f| f[column]).collect())).collect();
        let cells = row.iter().map(|value| format!("{value:>14.2}")).collect::<Vec<_>>().concat();
        println!("{:<16}{cells}  {:>8}  {:>9}", peer.name, idle[index], after[index]);
        medians.push(row);
    }
    println!(
        "Gbit/s: more is better; us: median of each round's median or 99th percentile, less is better. `direct` is without any proxy.\n"
    );
    let rivals: Vec<usize> = (0..peers.len()).filter(|index| peers[*index].rival).collect();
    let ours = peers.iter().position(|peer| peer.name == "roost-proxy").expect("the sidecar itself");
    let mut kept = idle[ours] <= PSS_KIB_MAX;
    println!("{} at most {PSS_KIB_MAX} KiB idle: {}", mark(kept), idle[ours]);
    for (column, name) in columns.iter().enumerate().filter(|_| !rivals.is_empty()) {
        let theirs = rivals.iter().map(|index| medians[*index][column]);
        let mine = medians[ours][column];
        let (good, text) = match measure::PROMISES[column] {
            measure::Promise::AtLeast => {
                let best = theirs.fold(0.0, f64::max);
                (mine >= best, format!("{mine:.2} against {best:.2}"))
            }
            measure::Promise::Latency => {
                let best = theirs.fold(f64::INFINITY, f64::min);
                (mine <= best * LATENCY_RATIO_MAX, format!("{mine:.2} against {best:.2}: {:.2} times", mine / best))
            }
            measure::Promise::None => continue,
        };
        println!("{} {name}: {text}", mark(good));
        kept &= good;
    }
    kept
}

fn mark(good: bool) -> &'static str {
    if good { "kept  " } else { "BROKEN" }
}
