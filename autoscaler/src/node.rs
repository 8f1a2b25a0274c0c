//! How large a pod can be.

use clap::Args as ClapArgs;
use msars_api::annotations::cpu_millis;
use msars_domain::MilliCpu;

/// Flags of the commands that decide on sizes.
#[derive(ClapArgs, Debug)]
pub struct NodeArgs {
    /// CPU of the largest node, such as `4` or `3500m`: no pod grows beyond it, or beyond its template where that is
    /// larger. Read from the nodes unless it is set.
    #[arg(long, env = "MSARS_NODE_CORES", value_parser = cpu)]
    pub node_cores: Option<MilliCpu>,
}

fn cpu(text: &str) -> Result<MilliCpu, String> {
    cpu_millis(text)
        .filter(|milli| *milli > 0)
        .map(MilliCpu)
        .ok_or_else(|| "expected cores above zero, such as 4, 3.5 or 3500m".to_owned())
}
