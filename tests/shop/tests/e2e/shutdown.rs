//! A pod that is asked to stop loses nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::harness::{Pod, Visitor};

const VISITORS: usize = 8;

#[tokio::test]
async fn no_request_is_lost_while_a_pod_stops() {
    let database = Pod::start("catalogue-db", "v1", &[], &[]);
    let peers = [("catalogue-db", database.address.as_str())];
    let mut catalogue = Pod::start("catalogue", "v1", &peers, &["--grace-ms", "1500"]);
    let at = catalogue.address.clone();
    // Stands for the endpoints: visitors leave once the pod is not ready.
    let gone = Arc::new(AtomicBool::new(false));
    let stopping = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU32::new(0));
    let late = Arc::new(AtomicU32::new(0));
    let visits: Vec<_> = (0..VISITORS)
        .map(|_| {
            let (gone, stopping) = (gone.clone(), stopping.clone());
            let (answered, late, at) = (answered.clone(), late.clone(), at.clone());
            tokio::spawn(async move {
                let visitor = Visitor::new();
                while !gone.load(Ordering::Relaxed) {
                    let was_stopping = stopping.load(Ordering::Relaxed);
                    let answer = visitor.ask(&at, "GET /catalogue?size=5").await;
                    assert_eq!(answer.map(|a| a.status().as_u16()), Ok(200));
                    answered.fetch_add(1, Ordering::Relaxed);
                    if was_stopping {
                        late.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    while answered.load(Ordering::Relaxed) < 100 {
        tokio::task::yield_now().await;
        assert!(visits.iter().all(|visit| !visit.is_finished()));
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    catalogue.terminate();
    let probe = Visitor::new();
    while probe.code(&at, "GET /readyz").await == 200 {}
    stopping.store(true, Ordering::Relaxed);
    while late.load(Ordering::Relaxed) < 50 {
        assert!(
            visits.iter().all(|visit| !visit.is_finished()),
            "a visitor met an error"
        );
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    gone.store(true, Ordering::Relaxed);
    for visit in visits {
        visit.await.unwrap();
    }
    assert!(catalogue.wait().success());
}

#[tokio::test]
async fn what_nobody_waits_for_is_sent_before_the_end() {
    let master = Pod::start("queue-master", "v1", &[], &[]);
    let queue = Pod::start("rabbitmq", "v1", &[("queue-master", &master.address)], &[]);
    let peers = [("rabbitmq", queue.address.as_str())];
    let mut shipping = Pod::start("shipping", "v1", &peers, &["--grace-ms", "0"]);
    let visitor = Visitor::new();
    let orders = (0..40).map(|_| visitor.code(&shipping.address, "POST /shipping"));
    let codes = futures::future::join_all(orders).await;
    assert!(codes.iter().all(|code| *code == 200), "{codes:?}");
    shipping.terminate();
    assert!(shipping.wait().success());
    // Everything that shipping sent was answered before it ended.
    let published = visitor
        .metric(
            &queue.address,
            "shop_request_seconds_count",
            r#"code="200""#,
        )
        .await;
    assert!((published - 40.0).abs() < 0.1, "{published}");
}
