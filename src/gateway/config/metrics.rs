use std::net::SocketAddr;

use super::plan::MetricsSettings;
use super::source::GatewaySource;
use crate::error::Result;

/// Where metrics are served. Whoever reads them learns who is connected as whom, so they stay on
/// this machine unless it is said that they need not.
pub(super) fn settings(source: &GatewaySource) -> Result<Option<MetricsSettings>> {
    let GatewaySource {
        metrics,
        metrics_names,
        danger_expose_metrics,
        ..
    } = source;
    let Some(given) = metrics else {
        let names = metrics_names
            .first()
            .map(|name| ("metrics_names", &name.place));
        let exposed = danger_expose_metrics.as_ref();
        let exposed = exposed.map(|given| ("danger_expose_metrics", &given.place));
        return match names.or(exposed) {
            Some((key, place)) => Err(place.error(format!("{key} has no effect without metrics"))),
            None => Ok(None),
        };
    };
    let address: SocketAddr = given.value.parse().map_err(|_| {
        let text = format!("metrics = {:?} is not ip:port or [ip6]:port", given.value);
        given.place.error(text)
    })?;
    let is_exposed = danger_expose_metrics.as_ref().is_some_and(|it| it.value);
    if !address.ip().is_loopback() && !is_exposed {
        let text = format!(
            "metrics = \"{address}\" is not on loopback, and whoever reaches it sees users, \
             addresses and certificates; add danger_expose_metrics = true if that is wanted"
        );
        return Err(given.place.error(text));
    }
    Ok(Some(MetricsSettings {
        address,
        names: metrics_names
            .iter()
            .map(|name| name.value.clone())
            .collect(),
    }))
}

#[cfg(test)]
mod tests {
    use crate::gateway::config::{Given, Place};

    use super::*;

    fn source(metrics: Option<&str>) -> GatewaySource {
        GatewaySource {
            metrics: metrics.map(|text| Given::flag("--test", text.to_owned())),
            ..GatewaySource::default()
        }
    }

    fn error_of(source: &GatewaySource) -> String {
        settings(source).unwrap_err().to_string()
    }

    #[test]
    fn they_are_off_by_default_and_on_loopback_where_given() {
        assert_eq!(settings(&source(None)), Ok(None));
        for text in ["127.0.0.1:9464", "127.9.9.9:1", "[::1]:9464"] {
            let found = settings(&source(Some(text))).unwrap().unwrap();
            assert_eq!(found.address.to_string(), text);
            assert!(found.names.is_empty());
        }
    }

    #[test]
    fn an_address_that_others_reach_must_be_exposed_on_purpose() {
        for text in ["0.0.0.0:9464", "[::]:9464", "10.0.0.1:9464"] {
            let mut source = source(Some(text));
            let error = error_of(&source);
            assert!(error.contains("danger_expose_metrics = true"), "{error}");
            source.danger_expose_metrics = Some(Given::flag("--test", false));
            assert!(settings(&source).is_err());
            source.danger_expose_metrics = Some(Given::flag("--test", true));
            assert!(settings(&source).unwrap().is_some());
        }
    }

    #[test]
    fn what_is_no_address_and_what_has_no_effect_are_refused() {
        for text in ["localhost:9464", "9464", "unix:/run/metrics", ""] {
            let error = error_of(&source(Some(text)));
            assert!(error.starts_with("--test: metrics = "), "{error}");
        }
        let mut alone = source(None);
        alone.danger_expose_metrics = Some(Given::flag("--test", true));
        let words = "danger_expose_metrics has no effect without metrics";
        assert_eq!(
            error_of(&alone),
            Place::Flag("--test").error(words).to_string()
        );
        alone.metrics_names = vec![Given::flag("--test", "gateway".into())];
        assert!(error_of(&alone).contains("metrics_names has no effect"));
    }
}
