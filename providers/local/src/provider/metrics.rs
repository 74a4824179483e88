//! Metrics of a local cloud: what its router counted, asked for in one request.

use std::time::Duration;

use async_trait::async_trait;
use longshore_contract::{
    AliasRef, Error, ErrorKind, MetricQuery, Metrics, Percentile, Result, Sample, Version, VersionSamples,
    Window,
};

use crate::control::wire::{MeasuredView, function_path};
use crate::provider::Local;
use crate::provider::client::Reached;

const OPERATION: &str = "measure";

#[async_trait]
impl Metrics for Local {
    /// A request is counted when its answer begins.
    fn delay(&self) -> Duration {
        Duration::ZERO
    }

    /// In all, not through one alias: the router counts versions. To five seconds, for the last hour.
    async fn sample(
        &self,
        alias: &AliasRef,
        versions: &[Version],
        queries: &[MetricQuery],
        window: Window,
    ) -> Result<Vec<VersionSamples>> {
        let percents = percents(queries, alias)?;
        let joined = |numbers: Vec<String>| numbers.join(",");
        let path = format!(
            "{}/metrics?versions={}&percents={}&from={}&until={}",
            function_path(&alias.function),
            joined(versions.iter().map(ToString::to_string).collect()),
            joined(percents.iter().map(ToString::to_string).collect()),
            window.from().as_millisecond(),
            // Up, so that a window shorter than a millisecond is one.
            window.until().as_millisecond() + 1,
        );
        let measured: Vec<MeasuredView> = match self.metrics.look(&path, OPERATION, alias).await? {
            Reached::Found(measured) => measured,
            Reached::Absent | Reached::NeverStarted => Vec::new(),
        };
        if !measured.is_empty() && !measured.iter().map(|view| &view.version).eq(versions) {
            let message = "the local cloud answered about other versions than were asked about";
            return Err(Error::new(ErrorKind::Unexpected, OPERATION, alias, message));
        }
        let silent = |version: &Version| VersionSamples {
            version: version.clone(),
            samples: vec![Sample::Silent; queries.len()],
        };
        if measured.is_empty() {
            return Ok(versions.iter().map(silent).collect());
        }
        Ok(measured
            .into_iter()
            .map(|view| VersionSamples {
                samples: queries.iter().map(|query| answer(query, &view, &percents)).collect(),
                version: view.version,
            })
            .collect())
    }
}

/// The percents whose latency is asked for. This cloud counts in whole ones, and has no metrics of its own.
fn percents(queries: &[MetricQuery], alias: &AliasRef) -> Result<Vec<u16>> {
    let invalid = |message: String| Error::new(ErrorKind::Invalid, OPERATION, alias, message);
    let mut percents = Vec::new();
    for query in queries {
        match query {
            MetricQuery::Latency(percentile) => percents.push(
                whole(*percentile)
                    .ok_or_else(|| invalid(format!("{percentile}: a local cloud counts whole percents")))?,
            ),
            MetricQuery::Own { name } => {
                return Err(invalid(format!("a local cloud has no metric {name:?}")));
            }
            MetricQuery::Invocations
            | MetricQuery::Errors
            | MetricQuery::ErrorRate
            | MetricQuery::Throttles => {}
        }
    }
    percents.dedup();
    Ok(percents)
}

fn whole(percentile: Percentile) -> Option<u16> {
    percentile.tenths().is_multiple_of(10).then_some(percentile.tenths() / 10)
}

fn answer(query: &MetricQuery, view: &MeasuredView, percents: &[u16]) -> Sample {
    let MeasuredView { invocations, errors, throttles, .. } = *view;
    let of_requests = |value: f64| match invocations {
        0 => Sample::Silent,
        invocations => Sample::Measured { value, invocations },
    };
    match query {
        MetricQuery::Invocations => of_requests(invocations as f64),
        // A request that was counted as good may become an error in a later window, when its answer breaks off.
        MetricQuery::Errors => of_requests(errors as f64),
        MetricQuery::ErrorRate => of_requests((errors as f64 / invocations as f64).min(1.0)),
        // Whoever is turned away every time has no invocations, and is not silent.
        MetricQuery::Throttles if invocations == 0 && throttles == 0 => Sample::Silent,
        MetricQuery::Throttles => Sample::Measured { value: throttles as f64, invocations },
        MetricQuery::Latency(percentile) => {
            let at =
                whole(*percentile).and_then(|wanted| percents.iter().position(|percent| *percent == wanted));
            let measured = at.and_then(|at| view.latencies_ms.get(at).copied().flatten());
            measured.map_or(Sample::Silent, of_requests)
        }
        MetricQuery::Own { .. } => Sample::Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(invocations: u64, errors: u64, throttles: u64) -> MeasuredView {
        let latency = (invocations > 0).then_some(12.5);
        let version = "1".parse().unwrap();
        MeasuredView { version, invocations, errors, throttles, latencies_ms: vec![None, latency] }
    }

    #[test]
    fn nothing_is_silence_and_none_of_some_is_a_number() {
        let queries = [
            MetricQuery::Invocations,
            MetricQuery::Errors,
            MetricQuery::ErrorRate,
            MetricQuery::Latency(Percentile::P95),
            MetricQuery::Throttles,
        ];
        let of = |view: &MeasuredView| queries.clone().map(|query| answer(&query, view, &[50, 95]));
        assert_eq!(of(&view(0, 0, 0)), [Sample::Silent; 5]);
        let measured = |value| Sample::Measured { value, invocations: 4 };
        assert_eq!(
            of(&view(4, 1, 0)),
            [measured(4.0), measured(1.0), measured(0.25), measured(12.5), measured(0.0)]
        );
        let turned_away = of(&view(0, 0, 7));
        assert_eq!(turned_away[4], Sample::Measured { value: 7.0, invocations: 0 });
        assert_eq!(turned_away[..4], [Sample::Silent; 4]);
    }

    #[test]
    fn what_this_cloud_does_not_count_is_said() {
        let alias = AliasRef { function: "shop".parse().unwrap(), alias: "live".parse().unwrap() };
        let asked = |query| percents(&[query], &alias).unwrap_err();
        let own = asked(MetricQuery::Own { name: "Duration".to_owned() });
        assert_eq!(own.kind, ErrorKind::Invalid);
        assert!(own.message.contains("no metric \"Duration\""), "{own}");
        assert!(asked(MetricQuery::Latency(Percentile::per_mille(999).unwrap())).message.contains("p99.9"));
    }
}
