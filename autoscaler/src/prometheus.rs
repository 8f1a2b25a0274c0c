//! Which Prometheus is asked, and what its metrics are called.

use anyhow::Context as _;
use clap::Args as ClapArgs;
use msars_controller::metrics::Metrics;
use msars_observe::{Client, Observer, Preset, Timeouts};

/// Flags of the commands that ask Prometheus.
#[derive(ClapArgs, Debug)]
pub struct PrometheusArgs {
    /// Where Prometheus answers; without an answer `drain` takes the last load that was remembered.
    #[arg(
        long,
        env = "MSARS_PROMETHEUS_URL",
        default_value = "http://prometheus.monitoring:9090"
    )]
    pub prometheus_url: String,
    /// Names of metrics and labels: shop, prometheus, opentelemetry or istio.
    #[arg(long, env = "MSARS_PRESET", default_value = "shop")]
    pub preset: String,
}

impl PrometheusArgs {
    /// What asks it; `metrics` counts the queries.
    pub fn observer(&self, metrics: &Metrics) -> anyhow::Result<Observer> {
        let preset = Preset::named(&self.preset).with_context(|| {
            format!(
                "--preset {}: expected shop, prometheus, opentelemetry or istio",
                self.preset
            )
        })?;
        let prometheus = Client::new(&self.prometheus_url, Timeouts::default())
            .with_context(|| format!("--prometheus-url {}", self.prometheus_url))?
            .heard_by(metrics.hears());
        Observer::new(prometheus, preset).context("the preset")
    }
}
