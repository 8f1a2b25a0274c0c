//! `msars-profile`: one open-loop run from the command line, or runs on request over HTTP.
//!
//! What it does **not** do: see the library; this file only reads arguments and writes results.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use msars_domain::load::Window;
use msars_domain::{Rate, RequestMix, TOKEN_ENV, Token};
use msars_loadgen::{Plan, Schedule, Target, TraceScale, drive, serve};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(
    name = "msars-profile",
    version,
    about = "Open-loop HTTP load with latency from the intended send time"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send once and report: progress on stderr, JSON on stdout or in --report.
    Run(Box<RunArgs>),
    /// Run on request: POST /run with the bearer token that is in MSARS_RUN_TOKEN, GET /healthz.
    Serve {
        /// Where to listen; `[::]` is every address, IPv4 ones too.
        #[arg(long, default_value = "[::]:9900")]
        listen: SocketAddr,
    },
}

#[derive(Args)]
struct RunArgs {
    /// `http://host:port`.
    #[arg(long)]
    target: Target,
    /// Weighted list: `GET /catalogue?size=5; 0.2 POST /cart {"id": 1}`.
    #[arg(long, default_value = "GET /")]
    requests: RequestMix,
    /// Poisson arrivals at this mean rate per second.
    #[arg(long, value_parser = rate, required_unless_present = "trace", conflicts_with = "trace")]
    rate: Option<Rate>,
    /// File with one rate per line, in requests per second.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Time each line of the trace stands for.
    #[arg(long, value_parser = span, default_value = "60s")]
    step: Duration,
    /// Compresses the trace's time: 60 plays an hour in a minute.
    #[arg(long, default_value_t = 1.0)]
    time_scale: f64,
    /// Multiplies the trace's rates.
    #[arg(long, default_value_t = 1.0)]
    rate_scale: f64,
    /// Stop sending after this time; without it a trace is played to its end.
    #[arg(long, value_parser = span, required_unless_present = "trace")]
    duration: Option<Duration>,
    /// Stop after so many requests.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    max_requests: u64,
    /// Requests waiting for their answer at once; arrivals above it are dropped and counted, and in no latency.
    #[arg(long, default_value_t = 200)]
    in_flight: usize,
    /// Same seed, same arrivals and same choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Length of a reported window.
    #[arg(long, value_parser = span, default_value = "5s")]
    window: Duration,
    /// A request without a full answer after this has failed; at most 60s.
    #[arg(long, value_parser = timeout, default_value = "5s")]
    timeout: Duration,
    /// A connection is not used again after this.
    #[arg(long, value_parser = span, default_value = "5s")]
    connection_age: Duration,
    /// Connections opened before one is used again.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Write the JSON here and not to stdout.
    #[arg(long)]
    report: Option<PathBuf>,
}

/// `60s`, `500ms`, `2m`, `1h`; a bare number is seconds.
fn span(text: &str) -> Result<Duration, String> {
    let units = [
        ("ms", 0.001),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
        ("", 1.0),
    ];
    let parsed = units.iter().find_map(|(unit, seconds)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Duration::try_from_secs_f64(number * seconds).ok()
    });
    parsed
        .filter(|span| !span.is_zero())
        .ok_or_else(|| format!("`{text}`, expected a time above 0 such as 60s, 500ms, 2m"))
}

fn timeout(text: &str) -> Result<Duration, String> {
    span(text).and_then(|span| {
        let fits = span <= Duration::from_mins(1);
        fits.then_some(span)
            .ok_or_else(|| format!("`{text}`, expected at most 60s"))
    })
}

/// The addresses to try, one after the other: a machine without IPv6 has only `0.0.0.0` for all of its own.
fn places(listen: SocketAddr) -> Vec<SocketAddr> {
    let mut places = vec![listen];
    if listen.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        places.push((Ipv4Addr::UNSPECIFIED, listen.port()).into());
    }
    places
}

fn rate(text: &str) -> Result<Rate, String> {
    let rate = text.parse().ok().and_then(|r| Rate::new(r).ok());
    rate.filter(|r| r.get() > 0.0)
        .ok_or_else(|| format!("`{text}`, expected requests per second above 0"))
}

impl RunArgs {
    fn plan(&self) -> anyhow::Result<Plan> {
        let schedule = match (&self.trace, self.rate) {
            (Some(path), _) => {
                let name = path.display();
                let text =
                    std::fs::read_to_string(path).with_context(|| format!("reading {name}"))?;
                let scale = TraceScale {
                    step_s: self.step.as_secs_f64(),
                    time: self.time_scale,
                    rate: self.rate_scale,
                };
                Schedule::trace(&text, scale).with_context(|| format!("reading {name}"))?
            }
            (None, Some(rate)) => Schedule::constant(rate),
            (None, None) => anyhow::bail!("either --rate or --trace"),
        };
        let duration = self.duration.unwrap_or(Duration::MAX);
        Ok(Plan {
            max_requests: self.max_requests,
            in_flight: self.in_flight,
            seed: self.seed,
            window: self.window,
            timeout: self.timeout,
            connection_age: self.connection_age,
            spread: self.connections,
            ..Plan::new(
                self.target.clone(),
                self.requests.clone(),
                schedule,
                duration,
            )
        })
    }

    async fn run(&self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let plan = self.plan()?;
        let result = drive(&plan, stop, progress).await?;
        let json = serde_json::to_string_pretty(&result)? + "\n";
        match &self.report {
            Some(path) => {
                std::fs::write(path, json)
                    .with_context(|| format!("writing {}", path.display()))?;
            }
            None => print!("{json}"),
        }
        let (total, driver) = (result.total, result.driver);
        if total.dropped > 0 {
            eprintln!(
                "{} requests were never sent, since too many waited for their answer: no latency holds them",
                total.dropped
            );
        }
        eprintln!(
            "{:.1}/s offered, {} sent, {} failed, {} dropped; driver: {:.0} µs CPU per request, lag p99 {}",
            result.offered.get(),
            total.sent,
            total.failed,
            total.dropped,
            driver.cpu_us_per_request,
            driver.lag_p99
        );
        Ok(())
    }
}

fn progress(window: &Window) {
    let (tally, end) = (&window.tally, window.end);
    let counts = format!(
        "{} sent {} failed {} dropped",
        tally.sent, tally.failed, tally.dropped
    );
    match (&tally.latency, &window.lag_p99) {
        (Some(l), Some(lag)) => {
            eprintln!(
                "{end:.1} {counts} p50 {} p99 {} lag p99 {lag}",
                l.p50, l.p99
            );
        }
        _ => eprintln!("{end:.1} {counts}"),
    }
}

/// Resolves at SIGTERM or SIGINT.
fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

// One thread: cheapest per request, and a load pod has a fraction of a core.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match execute(cli.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("msars-profile: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn execute(command: Command) -> anyhow::Result<()> {
    let stop = told_to_stop().context("signals")?;
    match command {
        Command::Run(args) => args.run(stop).await,
        Command::Serve { listen } => {
            // Not a flag: everybody on the machine reads those.
            let token = std::env::var(TOKEN_ENV).ok().and_then(Token::new);
            let token = token.context("MSARS_RUN_TOKEN is not set or empty")?;
            let listener = TcpListener::bind(&places(listen)[..])
                .await
                .with_context(|| format!("listening on {listen}"))?;
            eprintln!("listening on {}", listener.local_addr()?);
            serve(listener, token, stop).await;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (text, ms) in [
            ("60s", 60_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("0.5", 500),
            ("1h", 3_600_000),
        ] {
            assert_eq!(span(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "0s", "-1s", "1d", "NaN"] {
            assert!(span(text).is_err(), "{text}");
        }
        assert!(timeout("61s").is_err());
    }

    #[tokio::test]
    async fn where_nothing_is_said_ipv4_is_answered_too() {
        let cli = Cli::try_parse_from(["msars-profile", "serve"]).unwrap();
        let Command::Serve { mut listen } = cli.command else {
            panic!("not the command that was asked for");
        };
        assert_eq!(listen.port(), 9900);
        listen.set_port(0);
        let listener = TcpListener::bind(&places(listen)[..]).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let calling = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        let (answered, called) = tokio::join!(listener.accept(), calling);
        let from = answered.unwrap().1;
        assert_eq!(from.port(), called.unwrap().local_addr().unwrap().port());
    }

    #[test]
    fn only_every_address_has_a_second_place() {
        for (listen, wanted) in [
            ("[::]:9900", &["[::]:9900", "0.0.0.0:9900"][..]),
            ("[::1]:9900", &["[::1]:9900"]),
            ("0.0.0.0:9900", &["0.0.0.0:9900"]),
        ] {
            let found = places(listen.parse().unwrap());
            let found: Vec<String> = found.iter().map(SocketAddr::to_string).collect();
            assert_eq!(found, wanted, "{listen}");
        }
    }

    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
        let parse = |args: &str| Cli::try_parse_from(args.split(' '));
        assert!(parse("msars-profile run --target http://a --rate 5 --duration 1s").is_ok());
        assert!(parse("msars-profile run --target http://a --trace f").is_ok());
        assert!(parse("msars-profile run --target http://a --rate 5").is_err());
        assert!(
            parse("msars-profile run --target http://a --rate 5 --trace f --duration 1s").is_err()
        );
    }
}
