//! Images of every program, from the files beside the demo's own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use msars_cluster::Image;
use msars_shop::{ROLES, Role, VERSIONS, Version, image};

use crate::story::WORKLOAD;

/// Our own programs and the images that run them.
const OURS: [(&str, &str); 3] = [
    ("msars-admission", "msars/admission:dev"),
    ("msars-autoscaler", "msars/autoscaler:dev"),
    ("msars-profile", "msars/profile:dev"),
];
/// The load driver outside the cluster; the same program as in the load pods.
pub const DRIVER: &str = "msars-profile";
const SHOP: &str = "msars-shop";

/// The folder of the running program.
///
/// # Errors
/// When it is unknown.
pub fn folder() -> Result<PathBuf> {
    let own = std::env::current_exe().context("where this program lies")?;
    Ok(own.parent().unwrap_or(Path::new(".")).to_owned())
}

/// Checks that every program is there, before minutes are spent.
///
/// # Errors
/// Names every missing one and how to build it.
pub fn check(folder: &Path) -> Result<()> {
    let names = OURS.iter().map(|(program, _)| *program).chain([SHOP]);
    let missing: Vec<&str> = names.filter(|name| !folder.join(name).is_file()).collect();
    if !missing.is_empty() {
        bail!(
            "{} not found in {}: start the demo by `cargo xtask demo`, or build first: cargo build --profile ci --bins \
             -p msars-admission -p msars-autoscaler -p msars-loadgen -p msars-shop",
            missing.join(", "),
            folder.display()
        );
    }
    Ok(())
}

/// Every image that the scenario needs.
///
/// # Errors
/// When a program or one of its libraries cannot be read.
pub fn all(folder: &Path) -> Result<Vec<Image>> {
    let mut images = Vec::new();
    for (program, name) in OURS {
        images.push(Image::of_program(name, &folder.join(program))?);
    }
    let shop = Image::of_program("shop/base:v1", &folder.join(SHOP))?;
    let mut wanted: Vec<(Role, Version)> = ROLES
        .into_iter()
        .chain([Role::Sidecar])
        .map(|role| (role, Version::V1))
        .collect();
    let later = VERSIONS
        .into_iter()
        .filter(|version| *version != Version::V1);
    wanted.extend(later.map(|version| (WORKLOAD, version)));
    for (role, version) in wanted {
        let described = image(role, version);
        let named = shop.named(&described.reference);
        images.push(described.env.into_iter().fold(named, Image::with_env));
    }
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn missing_programs_are_named_all_at_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("msars-shop"), "").unwrap();
        let text = check(folder.path()).unwrap_err().to_string();
        assert!(
            text.starts_with("msars-admission, msars-autoscaler, msars-profile not found"),
            "{text}"
        );
    }
}
