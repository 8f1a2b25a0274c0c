//! Which Prometheus is asked, and what its metrics are called.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args as ClapArgs;
use clap::builder::PossibleValuesParser;
use msars_controller::metrics::Metrics;
use msars_observe::{Access, Client, Observer, Preset, Timeouts};

/// Flags of the commands that ask Prometheus.
#[derive(ClapArgs, Debug)]
pub struct PrometheusArgs {
    /// Where Prometheus answers; without an answer `drain` takes the last load that was remembered, so that outside of the
    /// cluster it needs none.
    #[arg(
        long,
        env = "MSARS_PROMETHEUS_URL",
        default_value = "http://prometheus.monitoring:9090"
    )]
    pub prometheus_url: String,
    /// PEM file of the authorities of its certificate, where it is asked by https://. Read once, at the start.
    #[arg(long, env = "MSARS_PROMETHEUS_CA", value_name = "FILE")]
    prometheus_ca: Option<PathBuf>,
    /// File with the bearer token that it wants, over https:// only; read again for every query.
    #[arg(long, env = "MSARS_PROMETHEUS_TOKEN_FILE", value_name = "FILE")]
    prometheus_token_file: Option<PathBuf>,
    /// Names of metrics and labels.
    #[arg(
        long,
        env = "MSARS_PRESET",
        default_value = "prometheus",
        value_parser = PossibleValuesParser::new(Preset::BUILT_IN)
    )]
    preset: String,
    /// File with names of metrics and labels of your own, YAML or JSON; `presets prometheus` prints one to begin with.
    #[arg(long, env = "MSARS_PRESET_FILE", conflicts_with = "preset")]
    preset_file: Option<PathBuf>,
}

impl PrometheusArgs {
    /// What asks it; `metrics` counts the queries.
    pub fn observer(&self, metrics: &Metrics) -> anyhow::Result<Observer> {
        let preset = match &self.preset_file {
            Some(path) => read(path).context("--preset-file")?,
            None => built_in(&self.preset).context("--preset")?,
        };
        let access = Access {
            authorities: self.prometheus_ca.clone(),
            token: self.prometheus_token_file.clone(),
        };
        let prometheus = Client::new(&self.prometheus_url, access, Timeouts::default())
            .with_context(|| format!("--prometheus-url {}", self.prometheus_url))?
            .heard_by(metrics.hears());
        Observer::new(prometheus, preset).context("the preset")
    }
}

/// Flags of `presets`.
#[derive(ClapArgs, Debug)]
pub struct PresetsArgs {
    /// The preset to print, as `--preset-file` takes it; without it, their names.
    #[arg(value_parser = PossibleValuesParser::new(Preset::BUILT_IN))]
    name: Option<String>,
    /// Checks a file as `--preset-file` does, and says what it is called.
    #[arg(long, value_name = "FILE", conflicts_with = "name")]
    check: Option<PathBuf>,
}

/// Prints what was asked for.
pub fn presets(args: &PresetsArgs) -> anyhow::Result<()> {
    match (&args.check, &args.name) {
        (Some(path), _) => println!("{}: preset {} is good", path.display(), read(path)?.name),
        (None, Some(name)) => print!("{}", serde_saphyr::to_string(&built_in(name)?)?),
        (None, None) => println!("{}", Preset::BUILT_IN.join("\n")),
    }
    Ok(())
}

fn built_in(name: &str) -> anyhow::Result<Preset> {
    Preset::named(name).with_context(|| format!("{name}: expected {}", Preset::BUILT_IN.join(", ")))
}

fn read(path: &Path) -> anyhow::Result<Preset> {
    let text = std::fs::read_to_string(path).with_context(|| {
        format!(
            "{} cannot be read; is it mounted? `msars-autoscaler presets prometheus` prints one",
            path.display()
        )
    })?;
    parse(&text).with_context(|| format!("{} is no preset", path.display()))
}

/// A preset out of its file, checked. JSON is YAML.
fn parse(text: &str) -> anyhow::Result<Preset> {
    let preset: Preset = serde_saphyr::from_str(text)?;
    preset.check()?;
    Ok(preset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_built_in_preset_comes_back_from_its_file() {
        for name in Preset::BUILT_IN {
            let preset = built_in(name).unwrap();
            let yaml = serde_saphyr::to_string(&preset).unwrap();
            assert_eq!(parse(&yaml).unwrap(), preset, "{yaml}");
        }
        let json = r#"{
            "name": "mine",
            "requests": {"metric": "req", "unit": "milliseconds"},
            "labels": {"namespace": "ns", "workload": {"label": "app"}},
            "cpu": {"usage": "c", "periods": "p", "throttled": "t",
                    "namespace": "ns", "pod": "pod", "container": "container"}
        }"#;
        assert_eq!(parse(json).unwrap().name, "mine");
    }

    #[test]
    fn a_bad_file_says_what_where_and_what_is_accepted() {
        let good = include_str!("../../manifests/overlays/preset/preset.yaml");
        // (what is exchanged, for what, words of the error)
        let table: [(&str, &str, &[&str]); 6] = [
            ("name: prometheus", "nme: mine", &["nme", "name", "line"]),
            (
                "unit: seconds",
                "unit: hours",
                &["hours", "seconds", "milliseconds", "line"],
            ),
            (
                "workload: podName",
                "workload: pod",
                &["pod", "podName", "label"],
            ),
            ("op: \"=~\"", "op: \"==\"", &["==", "=~", "line"]),
            (
                "metric: http_request_duration_seconds",
                "metric: http.request",
                &["requests.metric", "http.request", "accepted: letters"],
            ),
            (
                "value: \"5..\"",
                "value: \"5(.\"",
                &["failed[0].value", "5(.", "accepted: RE2"],
            ),
        ];
        for (there, instead, words) in table {
            assert!(good.contains(there), "{there}");
            let error = parse(&good.replacen(there, instead, 1)).unwrap_err();
            let told = format!("{error:#}");
            for word in words {
                assert!(told.contains(word), "{instead}, {word}: {told}");
            }
        }
        let missing = read(Path::new("/nowhere/preset.yaml")).unwrap_err();
        let told = format!("{missing:#}");
        for word in ["/nowhere/preset.yaml", "mounted", "presets prometheus"] {
            assert!(told.contains(word), "{told}");
        }
    }
}
