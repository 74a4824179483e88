//! The control API: one request per operation, JSON both ways.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use longshore_contract::{AliasName, FunctionName, Intent, Note, PublishDedup, Qualifier, Routing, Version};
use longshore_model::{
    AliasRecord, Changed, Code, Create, Function, Guard, Image, Outcome, Publish, Published, PutAlias,
    Refusal, Service, Update, VersionRecord,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::control::authorization::authorize;
use crate::control::journal::{Action, Write};
use crate::control::refusal::ApiError;
use crate::control::store::{Done, Store};
use crate::control::updates::{Begin, Updates};
use crate::control::wire::{
    AliasBody, AliasView, BODY_LIMIT, FunctionView, GuardBody, HeadView, MeasuredView, PAGE, PREFIX,
    PublishBody, Settings, StatusView, UpdateBody, VersionView,
};
use crate::router::instances::Instances;
use crate::state::Running;

/// What the control API works on.
pub(crate) struct Control {
    pub(crate) running: Running,
    pub(crate) store: Arc<Store>,
    pub(crate) instances: Arc<Instances>,
    pub(crate) updates: Updates,
    pub(crate) ending: CancellationToken,
    pub(crate) requests: AtomicU64,
}

type Answer = Result<Response, ApiError>;

/// Answers one request whose path begins with [`PREFIX`].
pub(crate) async fn handle(State(control): State<Arc<Control>>, request: Request) -> Response {
    let number = control.requests.fetch_add(1, Ordering::Relaxed);
    let request_id = format!("{}-{number}", control.running.pid);
    let (parts, body) = request.into_parts();
    let answer = match authorize(&parts.headers, &control.running.token) {
        Ok(()) => control.answer(&parts.method, parts.uri.path(), parts.uri.query(), body).await,
        Err(denied) => Err(denied),
    };
    answer.unwrap_or_else(|error| error.answer(request_id))
}

impl Control {
    async fn answer(&self, method: &Method, path: &str, query: Option<&str>, body: Body) -> Answer {
        let rest = path.strip_prefix(PREFIX).unwrap_or_default().trim_start_matches('/');
        let parts: Vec<&str> = rest.split('/').collect();
        match (method, parts.as_slice()) {
            (&Method::GET, ["status"]) => Ok(self.status()),
            (&Method::POST, ["shutdown"]) => {
                self.ending.cancel();
                Ok(StatusCode::ACCEPTED.into_response())
            }
            (&Method::GET, ["functions", name]) => {
                self.describe(&parse(name)?, stated(query, "at")?.as_deref())
            }
            (&Method::PUT, ["functions", name]) => self.update(parse(name)?, read(body).await?).await,
            (&Method::GET, ["functions", name, "head"]) => {
                let intent = stated(query, "intent")?.map(|intent| parse(&intent)).transpose()?;
                let service = self.store.service();
                answer(&head_view(service.function(&parse(name)?)?, intent))
            }
            (&Method::GET, ["functions", name, "versions"]) => {
                let limit = stated(query, "limit")?.map(|limit| number(&limit)).transpose()?;
                let before = stated(query, "before")?.map(|before| number(&before)).transpose()?;
                self.versions(&parse(name)?, before, limit.unwrap_or(100))
            }
            (&Method::POST, ["functions", name, "versions"]) => {
                self.publish(parse(name)?, read(body).await?).await
            }
            (&Method::GET, ["functions", name, "versions", version]) => {
                let (service, number) = (self.store.service(), number(version)?);
                answer(&version_view(number, service.version(&parse(name)?, number)?))
            }
            (&Method::GET, ["functions", name, "metrics"]) => self.metrics(&parse(name)?, query),
            (&Method::GET, ["functions", name, "aliases", alias]) => {
                let service = self.store.service();
                answer(&alias_view(service.alias(&parse(name)?, &parse(alias)?)?))
            }
            (&Method::PUT, ["functions", name, "aliases", alias]) => {
                self.put_alias(parse(name)?, parse(alias)?, read(body).await?).await
            }
            _ => Err(ApiError::unknown(format_args!("there is no {method} {path}"))),
        }
    }

    fn status(&self) -> Response {
        let status = StatusView {
            pid: self.running.pid,
            registry: self.running.registry,
            functions: self.running.functions,
            traffic: self.instances.traffic(),
        };
        Json(status).into_response()
    }

    fn describe(&self, name: &FunctionName, at: Option<&str>) -> Answer {
        let service = self.store.service();
        let function = service.function(name)?;
        let face = match at {
            None | Some("$LATEST") => Qualifier::Latest,
            Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => Qualifier::Version(parse(text)?),
            Some(text) => Qualifier::Alias(parse(text)?),
        };
        let view = match face {
            Qualifier::Latest => {
                let head = &function.head;
                let digest = Some(head.content.image.digest.clone());
                let settings = settings(&head.content.configuration)?;
                let (state, timeouts_ms) = (head.state.clone(), vec![settings.timeout_ms]);
                FunctionView { version: None, digest, settings, state, timeouts_ms }
            }
            Qualifier::Version(version) => version_face(&service, name, number(version.as_str())?)?,
            Qualifier::Alias(alias) => {
                let routing = &service.alias(name, &alias)?.routing;
                let stable = number(routing.stable().as_str())?;
                let mut view = version_face(&service, name, stable)?;
                if let Routing::Split { canary, .. } = routing {
                    (view.version, view.digest) = (None, None);
                    let canary = service.version(name, number(canary.as_str())?)?;
                    view.timeouts_ms.push(settings(&canary.content.configuration)?.timeout_ms);
                }
                view
            }
        };
        answer(&view)
    }

    fn versions(&self, name: &FunctionName, before: Option<u64>, limit: u64) -> Answer {
        let service = self.store.service();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(PAGE);
        let versions = service.versions(name, before, limit)?;
        let views: Vec<VersionView> =
            versions.into_iter().map(|(number, version)| version_view(number, version)).collect();
        answer(&views)
    }

    fn metrics(&self, name: &FunctionName, query: Option<&str>) -> Answer {
        self.store.service().function(name)?;
        let time = |key: &str| {
            let text = stated(query, key)?.unwrap_or_default();
            let milliseconds = text.parse().ok();
            milliseconds.and_then(|milliseconds| Timestamp::from_millisecond(milliseconds).ok()).ok_or_else(
                || ApiError::invalid(format_args!("{key}={text}: not a time in milliseconds since 1970")),
            )
        };
        let (from, until) = (time("from")?, time("until")?);
        let (versions, percents) = (numbers(query, "versions")?, numbers(query, "percents")?);
        let measured = |number: u64| {
            let counts = self.instances.measured(name, number, from, until).unwrap_or_default();
            MeasuredView {
                version: named(number),
                invocations: counts.invocations,
                errors: counts.errors,
                throttles: counts.throttles,
                latencies_ms: percents.iter().map(|percent| counts.latencies.quantile_ms(*percent)).collect(),
            }
        };
        answer(&versions.into_iter().map(measured).collect::<Vec<_>>())
    }

    async fn update(&self, name: FunctionName, body: UpdateBody) -> Answer {
        if name.as_str().contains('/') {
            return Err(ApiError::invalid(format_args!("{name}: this cloud has no namespaces")));
        }
        let changes = body.settings.configuration().map_err(ApiError::invalid)?;
        let image = Image { location: body.repository, digest: body.digest };
        let (intent, function) = (body.intent, name);
        let operation = move |service: &mut Service, at: Timestamp| {
            let intent = Some(intent);
            let subject = function.to_string();
            let write = |action| Write { action, subject, intent, run: None, routing: None };
            let done = if service.function(&function).is_ok() {
                let update = Update {
                    function: function.clone(),
                    image: Some(image),
                    changes,
                    intent,
                    revision: None,
                };
                match service.update(update, at)? {
                    Changed::Yes => Some(write(Action::UpdateFunction)),
                    Changed::No => None,
                }
            } else {
                let create = Create { function: function.clone(), image, configuration: changes, intent };
                service.create(create, at)?;
                Some(write(Action::CreateFunction))
            };
            let begin = if done.is_some() { Begin::Update(function.clone()) } else { Begin::Nothing };
            let view = head_view(service.function(&function)?, intent);
            Ok(Done { answer: (view, begin), write: done })
        };
        answer(&self.updates.write(operation).await?)
    }

    async fn publish(&self, name: FunctionName, body: PublishBody) -> Answer {
        let service = self.store.service();
        let function = service.function(&name)?;
        // The update started the head under the number that the version gets, so that it need not be started again.
        let started = self.instances.runs(&name, function.head_number());
        let operation =
            move |service: &mut Service, at: Timestamp| publish(service, at, name, &body, started);
        answer(&self.updates.write(operation).await?)
    }

    async fn put_alias(&self, name: FunctionName, alias: AliasName, body: AliasBody) -> Answer {
        let operation = move |service: &mut Service, at: Timestamp| {
            let action = match service.alias(&name, &alias) {
                Ok(_) => Action::UpdateAlias,
                Err(_) => Action::CreateAlias,
            };
            let run = Note::parse(&body.description).breadcrumb.map(|breadcrumb| breadcrumb.run);
            let write = Write {
                action,
                subject: format!("{name}:{alias}"),
                intent: None,
                run,
                routing: Some(body.routing.clone()),
            };
            let guard = match body.guard {
                GuardBody::Absent => Guard::Absent,
                GuardBody::Present => Guard::Present,
                GuardBody::Revision(revision) => Guard::Revision(revision),
            };
            let (routing, description) = (body.routing, body.description);
            let put = PutAlias { function: name, alias, routing, description, guard };
            let view = alias_view(service.put_alias(put, at)?);
            Ok(Done { answer: (view, Begin::Nothing), write: Some(write) })
        };
        answer(&self.updates.write(operation).await?)
    }
}

fn publish(
    service: &mut Service,
    at: Timestamp,
    name: FunctionName,
    body: &PublishBody,
    started: bool,
) -> Result<Done<(VersionView, Begin)>, Refusal> {
    let intent = Some(body.intent);
    let publish = Publish {
        function: name.clone(),
        description: body.intent.to_string(),
        intent,
        dedup: PublishDedup::ByIntent,
        revision: Some(body.revision),
    };
    let published = service.publish(publish, at)?;
    let number = published.number();
    let (write, begin) = match published {
        Published::Existed(_) => (None, Begin::Nothing),
        Published::Made(number) => {
            let begin = if started {
                service.settle_version(&name, number, &Outcome::Ok)?;
                Begin::Nothing
            } else {
                Begin::Version(name.clone(), number)
            };
            let subject = format!("{name}@{number}");
            (Some(Write { action: Action::Publish, subject, intent, run: None, routing: None }), begin)
        }
    };
    let view = version_view(number, service.version(&name, number)?);
    Ok(Done { answer: (view, begin), write })
}

fn head_view(function: &Function, intent: Option<Intent>) -> HeadView {
    let published = intent.and_then(|intent| {
        let made = |(_, version): &(&u64, &VersionRecord)| version.intent == Some(intent);
        function.versions.iter().rev().find(made).map(|(number, version)| version_view(*number, version))
    });
    let head = &function.head;
    HeadView { revision: head.revision, state: head.state.clone(), intent: head.intent, published }
}

fn version_face(service: &Service, name: &FunctionName, number: u64) -> Result<FunctionView, ApiError> {
    let version = service.version(name, number)?;
    let settings = settings(&version.content.configuration)?;
    Ok(FunctionView {
        version: Some(named(number)),
        digest: Some(version.content.image.digest.clone()),
        timeouts_ms: vec![settings.timeout_ms],
        settings,
        state: version.state.clone(),
    })
}

fn version_view(number: u64, version: &VersionRecord) -> VersionView {
    VersionView {
        version: named(number),
        digest: version.content.image.digest.clone(),
        state: version.state.clone(),
        published: version.published,
    }
}

fn alias_view(alias: &AliasRecord) -> AliasView {
    AliasView {
        routing: alias.routing.clone(),
        description: alias.description.clone(),
        revision: alias.revision,
    }
}

fn settings(configuration: &longshore_model::Configuration) -> Result<Settings, ApiError> {
    Settings::kept(configuration).map_err(|_| {
        ApiError::from(Refusal {
            code: Code::Failed,
            message: "the settings in the state are of another program's making".to_owned(),
        })
    })
}

/// A version's number as its name.
pub(crate) fn named(number: u64) -> Version {
    number.to_string().parse().expect("a number is a version's name")
}

fn answer(value: &impl Serialize) -> Answer {
    Ok(Json(value).into_response())
}

fn parse<T: std::str::FromStr<Err = longshore_contract::names::InvalidName>>(
    text: &str,
) -> Result<T, ApiError> {
    text.parse().map_err(ApiError::invalid)
}

fn number(text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| ApiError::invalid(format_args!("{text:?} is not a number")))
}

/// The numbers stated for `key`, with commas between them; none where it is not stated.
fn numbers(query: Option<&str>, key: &str) -> Result<Vec<u64>, ApiError> {
    let text = stated(query, key)?.unwrap_or_default();
    text.split(',').filter(|part| !part.is_empty()).map(number).collect()
}

/// The value stated for `key`. Values in this API hold nothing that would have to be escaped but `$` and `/`.
fn stated(query: Option<&str>, key: &str) -> Result<Option<String>, ApiError> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.into_iter().find(|(name, _)| *name == key).map(|(_, value)| value);
    match value {
        Some(value) if value.contains('%') || value.contains('+') => {
            Err(ApiError::invalid(format_args!("{key}={value}: write it without escapes")))
        }
        value => Ok(value.map(str::to_owned)),
    }
}

async fn read<T: DeserializeOwned>(body: Body) -> Result<T, ApiError> {
    let bytes = axum::body::to_bytes(body, BODY_LIMIT).await.map_err(|_| {
        ApiError::invalid(format_args!("the body broke off, or has more than {BODY_LIMIT} bytes"))
    })?;
    // Serde's own message may repeat a value, and a value may be a secret.
    serde_json::from_slice(&bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        ApiError::invalid(format_args!(
            "the body is not what this operation takes (line {line}, column {column})"
        ))
    })
}
