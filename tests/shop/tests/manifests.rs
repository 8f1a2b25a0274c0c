#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: a panic is its way to fail"
)]
//! What the manifests promise about size, security and the product's annotations.

use msars_shop::{FRONT_MIX, Options, ROLES, Role, Version, deployment, manifests, requests_milli};
use serde_json::Value;

fn containers(deployment: &Value) -> &Vec<Value> {
    deployment["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap()
}

fn milli(text: &Value) -> u64 {
    text.as_str()
        .unwrap()
        .strip_suffix('m')
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn the_catalogue_deployment_is_the_golden_one() {
    insta::assert_json_snapshot!(deployment(Role::Catalogue, &Options::default()));
}

#[test]
fn the_container_beside_orders_is_the_golden_one() {
    let orders = deployment(Role::Orders, &Options::default());
    insta::assert_json_snapshot!(containers(&orders)[1]);
}

#[test]
fn the_list_holds_every_object_once_and_the_namespace_first() {
    let list = manifests(&Options::default());
    let names: Vec<String> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            format!(
                "{}/{}",
                item["kind"].as_str().unwrap(),
                item["metadata"]["name"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(names[0], "Namespace/shop");
    assert_eq!(names.len(), 2 + 14 + 14);
    for role in ROLES {
        for kind in ["Service", "Deployment"] {
            assert_eq!(
                names
                    .iter()
                    .filter(|name| **name == format!("{kind}/{role}"))
                    .count(),
                1
            );
        }
    }
}

#[test]
fn the_requests_fit_a_small_node_and_sum_to_what_is_said() {
    let mut sum = 0;
    for role in ROLES {
        let deployment = deployment(role, &Options::default());
        let replicas = deployment["spec"]["replicas"].as_u64().unwrap();
        let pod: u64 = containers(&deployment)
            .iter()
            .map(|c| milli(&c["resources"]["requests"]["cpu"]))
            .sum();
        sum += pod * replicas;
    }
    assert_eq!(sum, u64::from(requests_milli()));
    assert!(sum <= 900, "{sum}");
}

#[test]
fn one_role_has_no_cpu_limit_one_is_guaranteed_and_one_has_a_sidecar() {
    let (mut unlimited, mut guaranteed, mut accompanied) = (vec![], vec![], vec![]);
    for role in ROLES {
        let deployment = deployment(role, &Options::default());
        let containers = containers(&deployment);
        let resources = &containers[0]["resources"];
        assert!(
            resources["limits"]["memory"].is_string() && resources["requests"]["cpu"].is_string()
        );
        if resources["limits"]["cpu"].is_null() {
            unlimited.push(role);
        }
        if resources["limits"] == resources["requests"] {
            guaranteed.push(role);
        }
        if containers.len() > 1 {
            accompanied.push(role);
        }
    }
    assert_eq!(
        (unlimited, guaranteed, accompanied),
        (vec![Role::Carts], vec![Role::Payment], vec![Role::Orders])
    );
}

#[test]
fn the_version_is_the_images_alone() {
    for (role, version) in [(Role::FrontEnd, Version::V1), (Role::User, Version::V4)] {
        let options = Options {
            version,
            ..Options::default()
        };
        let app = &containers(&deployment(role, &options))[0].clone();
        assert_eq!(app["image"], format!("shop/{role}:{version}"));
        assert_eq!(app["args"], serde_json::json!(["serve"]));
        assert!(app["env"].is_null());
    }
}

#[test]
fn only_the_entry_has_an_objective_and_all_say_how_to_profile_them() {
    for role in ROLES {
        let deployment = deployment(role, &Options::default());
        let annotations = &deployment["metadata"]["annotations"];
        assert_eq!(
            annotations["msars.io/slo"].is_string(),
            role == Role::FrontEnd
        );
        assert!(
            annotations["msars.io/profile-request"]
                .as_str()
                .unwrap()
                .contains('/')
        );
        if role == Role::FrontEnd {
            assert_eq!(annotations["msars.io/profile-request"], FRONT_MIX);
        }
    }
}

#[test]
fn flags_become_environment() {
    let options = Options {
        self_time: true,
        process_cpu: true,
        ..Options::default()
    };
    let env = containers(&deployment(Role::User, &options))[0]["env"].to_string();
    assert!(env.contains("SHOP_SELF_TIME") && env.contains("SHOP_PROCESS_CPU"));
}
