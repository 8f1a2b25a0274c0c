//! Looks at kubelets: a few at once, within one look's time, and the silent ones less and less often.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;

use crate::kubelet::{Container, KubeletError, Kubelets, Periods, periods};

/// Nodes that are read at once: a page has megabytes.
const AT_ONCE: usize = 8;
/// Longest time of one look, a little more than that of one read; whom it does not reach is asked at the next.
const LOOK: Duration = Duration::from_secs(4);
/// How long a node is left out after one silence, in seconds, doubled with every further one in a row.
const LEFT_OUT_S: f64 = 5.0;
/// At most so long.
const MOST_S: f64 = 15.0;

/// What is known of nodes' kubelets.
#[derive(Debug, Default)]
pub(super) struct Deaf {
    /// Those that could not be read.
    silent: BTreeMap<String, Silence>,
    /// When each was read last.
    read: BTreeMap<String, Timestamp>,
}

#[derive(Debug, Clone, Copy)]
struct Silence {
    /// Times in a row that it did not answer in time; none where it refused, which costs no time.
    times: u32,
    since: Timestamp,
}

impl Silence {
    fn over(self, now: Timestamp) -> bool {
        let Some(further) = self.times.checked_sub(1) else {
            return true;
        };
        let left_out = LEFT_OUT_S * f64::from(further.min(10)).exp2();
        now.duration_since(self.since).as_secs_f64() >= left_out.min(MOST_S)
    }
}

impl Deaf {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.silent.is_empty() && self.read.is_empty()
    }

    /// Those of the nodes that are to be asked now, first whom no look has reached for longest, and last those that did not
    /// answer before; what is known of others is forgotten.
    fn due(&mut self, nodes: BTreeSet<String>, now: Timestamp) -> Vec<String> {
        self.silent.retain(|node, _| nodes.contains(node));
        self.read.retain(|node, _| nodes.contains(node));
        let silent = &self.silent;
        let over = |node: &String| silent.get(node).is_none_or(|silence| silence.over(now));
        let mut asked: Vec<String> = nodes.into_iter().filter(over).collect();
        asked.sort_by_key(|node| (silent.contains_key(node), self.read.get(node).copied()));
        asked
    }

    /// A node was read.
    fn answered(&mut self, node: String, now: Timestamp) {
        self.silent.remove(&node);
        self.read.insert(node, now);
    }

    /// A node could not be read; whether that is news.
    fn failed(&mut self, node: String, error: &KubeletError, now: Timestamp) -> bool {
        let silent = matches!(error, KubeletError::Time(_));
        match self.silent.entry(node) {
            Entry::Vacant(place) => {
                let times = u32::from(silent);
                place.insert(Silence { times, since: now });
                true
            }
            Entry::Occupied(mut place) => {
                let before = place.get().times;
                let times = if silent { before.saturating_add(1) } else { 0 };
                place.insert(Silence { times, since: now });
                false
            }
        }
    }
}

/// Reads the nodes that are not left out. One that cannot be read is told once, until it answers again.
pub(super) async fn read(
    kubelets: &Kubelets,
    nodes: BTreeSet<String>,
    deaf: &mut Deaf,
    now: Timestamp,
) -> BTreeMap<Container, Periods> {
    // Of a page only the periods are kept, however many nodes are read.
    let ask = |node: String| async move {
        let page = kubelets.cadvisor(&node).await;
        page.map(|text| periods(&text))
    };
    look(ask, nodes, deaf, now).await
}

async fn look<F>(
    ask: impl Fn(String) -> F,
    nodes: BTreeSet<String>,
    deaf: &mut Deaf,
    now: Timestamp,
) -> BTreeMap<Container, Periods>
where
    F: Future<Output = Result<BTreeMap<Container, Periods>, KubeletError>>,
{
    let answers = futures::stream::iter(deaf.due(nodes, now))
        .map(|node| {
            let answer = ask(node.clone());
            async move { (node, answer.await) }
        })
        .buffer_unordered(AT_ONCE)
        .take_until(tokio::time::sleep(LOOK));
    let mut answers = std::pin::pin!(answers);
    let mut out = BTreeMap::new();
    while let Some((node, answer)) = answers.next().await {
        match answer {
            Ok(periods) => {
                deaf.answered(node, now);
                out.extend(periods);
            }
            Err(error) => {
                if deaf.failed(node, &error, now) {
                    tracing::warn!(%error, category = error.category(), "no reflex on this node: its kubelet's metrics cannot be read");
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use tokio::time::{Instant, sleep};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_769_000_000 + second).unwrap()
    }

    fn names(kind: &str, count: usize) -> BTreeSet<String> {
        (0..count).map(|n| format!("{kind} {n:02}")).collect()
    }

    /// How nodes answer, and how many were asked at once at most.
    #[derive(Default)]
    struct Nodes {
        asked: AtomicUsize,
        now: AtomicUsize,
        most: AtomicUsize,
    }

    impl Nodes {
        /// One that is silent, one that refuses, or one that answers with a container of its name.
        async fn answer(&self, node: String) -> Result<BTreeMap<Container, Periods>, KubeletError> {
            self.asked.fetch_add(1, Relaxed);
            let at_once = self.now.fetch_add(1, Relaxed) + 1;
            self.most.fetch_max(at_once, Relaxed);
            let silent = node.starts_with("silent");
            sleep(Duration::from_millis(match node.split(' ').next() {
                Some("silent") => 3000,
                Some("slow") => 900,
                _ => 20,
            }))
            .await;
            self.now.fetch_sub(1, Relaxed);
            if silent {
                return Err(KubeletError::Time(node));
            }
            if node.starts_with("refusing") {
                return Err(KubeletError::Address(node));
            }
            let found = Periods {
                all: 10.0,
                throttled: 1.0,
                at: at(0),
            };
            let container = ("shop".to_owned(), node, "app".to_owned());
            Ok(BTreeMap::from([(container, found)]))
        }

        /// Looks at them; how many answered, were asked, and how long it took.
        async fn look(
            &self,
            nodes: &BTreeSet<String>,
            deaf: &mut Deaf,
            now: Timestamp,
        ) -> (usize, usize, Duration) {
            self.asked.store(0, Relaxed);
            let begun = Instant::now();
            let found = look(|node| self.answer(node), nodes.clone(), deaf, now).await;
            (found.len(), self.asked.load(Relaxed), begun.elapsed())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_node_is_left_out_longer_and_longer_and_a_refusing_one_never() {
        let (nodes, mut deaf) = (Nodes::default(), Deaf::default());
        let mut all = names("node", 3);
        all.extend(["refusing".to_owned(), "silent".to_owned()]);
        let second = Duration::from_secs(1);
        for (after, asks) in [
            (0, true),
            (4, false),
            (5, true),
            (14, false),
            (15, true),
            // No longer than that: a node may be silent because it is busy.
            (29, false),
            (30, true),
            (44, false),
            (45, true),
        ] {
            let (found, asked, took) = nodes.look(&all, &mut deaf, at(after)).await;
            assert_eq!(found, 3, "{after}");
            assert_eq!(asked, if asks { 5 } else { 4 }, "{after}");
            assert_eq!(took > second, asks, "{after}: {took:?}");
        }
        // Nothing is remembered of a node that is gone.
        all.remove("silent");
        nodes.look(&all, &mut deaf, at(46)).await;
        assert_eq!(deaf.silent.keys().collect::<Vec<_>>(), ["refusing"]);
        all.insert("silent".to_owned());
        assert_eq!(nodes.look(&all, &mut deaf, at(47)).await.1, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn many_nodes_are_read_a_few_at_once() {
        let (nodes, mut deaf) = (Nodes::default(), Deaf::default());
        let (found, _, took) = nodes.look(&names("node", 100), &mut deaf, at(0)).await;
        assert_eq!(found, 100);
        assert_eq!(nodes.most.load(Relaxed), AT_ONCE);
        assert!(took < Duration::from_secs(1), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn whom_a_look_does_not_reach_is_asked_first_at_the_next() {
        let (nodes, mut deaf) = (Nodes::default(), Deaf::default());
        // Four rounds of eight within one look.
        let all = names("slow", 60);
        for (second, unread) in [(0, 28), (4, 0), (8, 0)] {
            assert_eq!(nodes.look(&all, &mut deaf, at(second)).await.0, 32);
            assert_eq!(all.len() - deaf.read.len(), unread, "{second}");
        }
        let oldest = deaf.read.values().min().copied();
        assert!(oldest >= Some(at(4)), "{oldest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn many_silent_nodes_make_no_look_longer_and_the_others_are_reached() {
        let (nodes, mut deaf) = (Nodes::default(), Deaf::default());
        let mut all = names("silent", 20);
        all.extend(names("zone", 10));
        // At second 8 the first of the silent ones are due again.
        for (second, reached) in [(0, 0), (4, 10), (8, 10)] {
            let (found, _, took) = nodes.look(&all, &mut deaf, at(second)).await;
            assert!(took < LOOK + LOOK / 10, "{second}: {took:?}");
            assert_eq!(found, reached, "{second}");
        }
    }

    #[test]
    fn only_the_first_failure_in_a_row_is_news() {
        let mut deaf = Deaf::default();
        let node = || "10.0.0.5".to_owned();
        let (silent, refused) = (KubeletError::Time(node()), KubeletError::Address(node()));
        assert!(deaf.failed(node(), &refused, at(0)));
        assert!(!deaf.failed(node(), &silent, at(2)));
        assert!(!deaf.failed(node(), &refused, at(9)));
        assert_eq!(deaf.due([node()].into(), at(9)), [node()]);
        deaf.answered(node(), at(11));
        assert!(deaf.failed(node(), &silent, at(12)));
    }
}
