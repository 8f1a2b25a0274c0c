//! Names: roles, versions and the images that carry them.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// What one pod of the shop plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The entry of all chains.
    FrontEnd,
    /// Products.
    Catalogue,
    /// Its database.
    CatalogueDb,
    /// Shopping carts, shared by three chains.
    Carts,
    /// Its database.
    CartsDb,
    /// Orders.
    Orders,
    /// Its database.
    OrdersDb,
    /// Accounts, addresses and cards, shared by two chains.
    User,
    /// Its database.
    UserDb,
    /// Says yes.
    Payment,
    /// Publishes and does not wait.
    Shipping,
    /// Consumes what shipping published.
    QueueMaster,
    /// The queue between the two.
    Rabbitmq,
    /// Sessions of the front end.
    SessionDb,
    /// A container beside another one; not a role of the shop's fourteen.
    Sidecar,
}

/// The fourteen roles with a Deployment each, callers before callees.
pub const ROLES: [Role; 14] = [
    Role::FrontEnd,
    Role::Orders,
    Role::Catalogue,
    Role::Carts,
    Role::User,
    Role::Payment,
    Role::Shipping,
    Role::Rabbitmq,
    Role::QueueMaster,
    Role::CatalogueDb,
    Role::CartsDb,
    Role::OrdersDb,
    Role::UserDb,
    Role::SessionDb,
];

impl Role {
    /// The name of its Deployment, Service and metrics label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FrontEnd => "front-end",
            Self::Catalogue => "catalogue",
            Self::CatalogueDb => "catalogue-db",
            Self::Carts => "carts",
            Self::CartsDb => "carts-db",
            Self::Orders => "orders",
            Self::OrdersDb => "orders-db",
            Self::User => "user",
            Self::UserDb => "user-db",
            Self::Payment => "payment",
            Self::Shipping => "shipping",
            Self::QueueMaster => "queue-master",
            Self::Rabbitmq => "rabbitmq",
            Self::SessionDb => "session-db",
            Self::Sidecar => "sidecar",
        }
    }
}

/// Which build of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Version {
    /// The base.
    V1,
    /// Three times the work.
    V2,
    /// Half the work.
    V3,
    /// The same mean work and another knee: wider spread, two workers, one more call.
    V4,
}

/// All versions, oldest first.
pub const VERSIONS: [Version; 4] = [Version::V1, Version::V2, Version::V3, Version::V4];

impl Version {
    /// The image tag.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V3 => "v3",
            Self::V4 => "v4",
        }
    }
}

/// A name that no role or version has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a {1}")]
pub struct UnknownName(String, &'static str);

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Role {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        ROLES
            .into_iter()
            .chain([Self::Sidecar])
            .find(|role| role.name() == text)
            .ok_or_else(|| UnknownName(text.to_owned(), "role"))
    }
}

impl FromStr for Version {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        VERSIONS
            .into_iter()
            .find(|version| version.name() == text)
            .ok_or_else(|| UnknownName(text.to_owned(), "version"))
    }
}

/// An image of the shop's program. All have the same bytes; only the environment differs,
/// so that `kubectl set image` alone changes what a pod does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// As a pod template names it: `shop/catalogue:v1`.
    pub reference: String,
    /// As containerd stores it: `docker.io/shop/catalogue:v1`.
    pub stored_as: String,
    /// What its configuration's `Env` adds, `NAME=value` each. The entry point is the
    /// program alone; pod templates pass `serve`.
    pub env: Vec<String>,
}

/// The image of a role's version.
pub fn image(role: Role, version: Version) -> Image {
    let reference = format!("shop/{role}:{version}");
    Image {
        stored_as: format!("docker.io/{reference}"),
        reference,
        env: vec![
            format!("SHOP_ROLE={role}"),
            format!("SHOP_VERSION={version}"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::{ROLES, Role, VERSIONS, Version, image};

    #[test]
    fn names_read_back_and_nothing_else_does() {
        for role in ROLES {
            assert_eq!(role.name().parse::<Role>(), Ok(role));
        }
        for version in VERSIONS {
            assert_eq!(version.name().parse::<Version>(), Ok(version));
        }
        assert!("v5".parse::<Version>().is_err());
        assert_eq!(
            "kasse".parse::<Role>().unwrap_err().to_string(),
            "\"kasse\" is no name of a role"
        );
    }

    #[test]
    fn an_image_carries_its_role_and_version() {
        let image = image(Role::CartsDb, Version::V3);
        assert_eq!(image.reference, "shop/carts-db:v3");
        assert_eq!(image.stored_as, "docker.io/shop/carts-db:v3");
        assert_eq!(image.env, ["SHOP_ROLE=carts-db", "SHOP_VERSION=v3"]);
    }
}
