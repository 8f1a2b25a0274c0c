//! Carrying queries to Prometheus and answers back.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;

use crate::{
    Answers, Ask, Budgeted, Budgets, Client, Entries, Entry, GraphError, Graphs, Observed, Preset,
    PresetError, PromError, Scope, Windows, assemble, assemble_budgets, assemble_entries,
    budget_queries, entry_queries, graph_queries, signal_queries,
};

/// One Prometheus server read through one preset.
#[derive(Debug, Clone)]
pub struct Observer {
    client: Client,
    preset: Preset,
}

impl Observer {
    /// Refuses a preset with names that would change the meaning of a query.
    pub fn new(client: Client, preset: Preset) -> Result<Self, PresetError> {
        preset.check()?;
        Ok(Self { client, preset })
    }

    /// The preset.
    pub fn preset(&self) -> &Preset {
        &self.preset
    }

    /// The signals of every workload of the scope, evaluated at `now`: at most ten queries, sent at once. Never fails:
    /// what is missing is `Unknown`, and [`Observed::problems`] says why.
    pub async fn signals(&self, scope: &Scope, now: Timestamp) -> Observed {
        if scope.workloads.is_empty() {
            return Observed::default();
        }
        let answers = self.ask(signal_queries(&self.preset, scope), now).await;
        assemble(&self.preset, scope, now, &answers)
    }

    /// Who calls whom in these namespaces over `window`: four queries for all of them.
    pub async fn call_graphs(
        &self,
        namespaces: &BTreeSet<&str>,
        window: Duration,
        now: Timestamp,
    ) -> Result<Graphs<'_>, GraphError> {
        let queries = graph_queries(&self.preset, namespaces, window)?;
        Ok(Graphs::read(
            &self.preset,
            now,
            self.ask(queries, now).await,
        ))
    }

    /// Quantile, attainment and number of requests of entry workloads over `window`: two queries for all of them.
    /// `windows` gives the limit of staleness.
    pub async fn entries(
        &self,
        entries: &[Entry],
        window: Duration,
        windows: &Windows,
        now: Timestamp,
    ) -> Entries {
        if entries.is_empty() {
            return Entries::default();
        }
        let answers = self
            .ask(entry_queries(&self.preset, entries, window), now)
            .await;
        assemble_entries(&self.preset, entries, windows, now, &answers)
    }

    /// What is spent of the error budgets of entry workloads, as far back as metrics go: two queries for all of them,
    /// which read every sample of their windows, so that they may take seconds.
    pub async fn budgets(&self, asked: &[Budgeted], now: Timestamp) -> Budgets {
        if asked.is_empty() {
            return Budgets::default();
        }
        let answers = self.ask(budget_queries(&self.preset, asked), now).await;
        assemble_budgets(&self.preset, asked, now, &answers)
    }

    async fn ask(&self, queries: Vec<(Ask, String)>, now: Timestamp) -> Answers {
        let mut answers: Answers = queries
            .iter()
            .map(|(ask, _)| {
                (
                    *ask,
                    Err(PromError::Unreachable("the query was cut off".into())),
                )
            })
            .collect();
        let mut running = JoinSet::new();
        for (ask, promql) in queries {
            let client = self.client.clone();
            running.spawn(async move {
                let answer = client.query(&promql, now).await;
                if let Err(error) = &answer {
                    tracing::debug!(ask = ask.name(), %error, promql, "a query failed");
                }
                (ask, answer)
            });
        }
        while let Some(joined) = running.join_next().await {
            if let Ok((ask, answer)) = joined {
                answers.insert(ask, answer);
            }
        }
        answers
    }
}
