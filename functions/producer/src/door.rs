//! The door: whose event is this, and does its sender prove it?
//!
//! The routes document says which source a topic belongs to, and how that source's sender proves who it is. Topics that it does not
//! name, but `TOPICS` does, take our own payload from whoever has `PRODUCER_TOKEN`. All else is refused.
//!
//! While the table is unavailable and the routes were never read, `PRODUCER_TOKEN` is enough only if `SOURCE_SECRETS` has no sender's
//! secret, because the document may give such a secret to the topic's source or to `payload`.
//!
//! A rejection may lose the event, because many senders never send it again. Before the producer rejects a request, it asks the table for
//! the routes of this moment, at most once a second.

use std::{borrow::Cow, sync::Arc, time::Duration};

use surehook::{
    routes::Routes,
    secret::Secret,
    sources::{Source, SourceSecrets, bearer, seal::SEAL_SECRET},
    store::routes_cache::RoutesCache,
    web::{Incoming, Moment, Outcome},
};

/// The rules and secrets that senders are judged by.
#[derive(Debug, Clone)]
pub struct Door {
    /// Sources and topics.
    pub routes: Arc<RoutesCache<()>>,
    /// The secrets of senders.
    pub secrets: SourceSecrets,
    /// The tokens of senders whose source has no secret of its own.
    pub tokens: Vec<Secret>,
    /// Topics that take our own payload, besides those of the document.
    pub topics: Vec<String>,
    /// How long the table may take to say what the routes are.
    pub patience: Duration,
}

/// A sender that was believed.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// Whose event it is.
    pub(crate) source: Source,
    /// The routes that it was judged by; `None` where they can't be read, and `PRODUCER_TOKEN` was enough.
    pub(crate) routes: Option<Arc<Routes>>,
}

/// The most likely sender of a rejected request.
#[derive(Debug)]
pub(crate) enum Suspect {
    /// The sender of this source, with another secret.
    Sender(Box<Source>),
    /// The sender of this source, whose secret is not configured.
    SecretMissing(Box<Source>),
    /// The sender of a source, which posts to a topic that is not configured.
    UnknownTopic,
    /// Anybody.
    Stranger,
}

impl Door {
    /// Says at start which senders will have to be turned away.
    pub(crate) fn tell_missing(&self, routes: &Routes) {
        let posted = routes.topics.iter().filter_map(|topic| routes.source(&topic.source));
        let lacking = posted
            .filter(|source| source.secret.as_ref().is_some_and(|secret| !source.usable(self.secrets.named(secret))));
        for source in lacking {
            let (name, secret) = (&source.name, &source.secret);
            tracing::error!(
                source = name,
                secret,
                "SOURCE_SECRETS has no secret of this source that its scheme can use"
            );
        }
        let signs = routes.sources.iter().any(|source| source.signature.is_some());
        if signs && self.secrets.named(SEAL_SECRET).is_empty() {
            tracing::error!("SOURCE_SECRETS has no \"seal\": senders that sign are turned away until it has one");
        }
    }

    /// Judges the sender of a request to a topic.
    pub(crate) async fn admit(&self, topic: &str, request: &Incoming, moment: Moment) -> Result<Admitted, Outcome> {
        let routes = self.routes.available(self.patience, moment).await;
        match self.judge(routes.as_deref(), topic, request, moment) {
            Ok(source) => Ok(Admitted { source: source.into_owned(), routes: routes.clone() }),
            Err(refused) => self.judge_again(routes, refused, topic, request, moment).await,
        }
    }

    /// Judges a request that is to be refused by the routes that the table has now, if they are others.
    pub(crate) async fn judge_again(
        &self,
        known: Option<Arc<Routes>>,
        refused: Outcome,
        topic: &str,
        request: &Incoming,
        moment: Moment,
    ) -> Result<Admitted, Outcome> {
        let Some(newer) = self.routes.fresh(self.patience, moment).await else { return Err(Outcome::StoreAway) };
        if known.is_some_and(|known| known.version == newer.version) {
            return Err(refused);
        }
        let source = self.judge(Some(&newer), topic, request, moment)?.into_owned();
        Ok(Admitted { source, routes: Some(newer) })
    }

    /// Returns the most likely sender of a rejected request.
    pub(crate) async fn suspect(&self, topic: &str, rejected: &Outcome, request: &Incoming, moment: Moment) -> Suspect {
        let Some(routes) = self.routes.available(self.patience, moment).await else { return Suspect::Stranger };
        let (headers, body, now) = (&request.headers, &request.body, moment.now);
        match (rejected, self.source_of(&routes, topic)) {
            (Outcome::Unauthorized(rejection), Some(source)) if source.is_plausible(rejection, headers, body, now) => {
                Suspect::Sender(Box::new(source.into_owned()))
            }
            (Outcome::SecretMissing(_), Some(source)) if source.is_well_formed(headers, body, now) => {
                Suspect::SecretMissing(Box::new(source.into_owned()))
            }
            // The token was right.
            (Outcome::UnknownTopic(_), _) => Suspect::UnknownTopic,
            (Outcome::Unauthorized(_), None) if self.knows_sender(&routes, request, moment) => Suspect::UnknownTopic,
            _ => Suspect::Stranger,
        }
    }

    /// Returns the source of a topic, which `TOPICS` may name as well as the document.
    fn source_of<'r>(&self, routes: &'r Routes, topic: &str) -> Option<Cow<'r, Source>> {
        let is_listed = self.topics.iter().any(|known| known == topic);
        routes.of_topic(topic).or_else(|| routes.known("payload").filter(|_| is_listed))
    }

    /// Returns whether a request to an unknown topic came from the sender of a source.
    fn knows_sender(&self, routes: &Routes, request: &Incoming, moment: Moment) -> bool {
        // A MAC over a large body costs more than a look at the headers.
        let (headers, body) = (&request.headers, &request.body);
        let own = routes.sources.iter().filter(|source| source.signature.is_some() || source.secret.is_some());
        let mut likely = own.filter(|source| source.is_well_formed(headers, body, moment.now));
        likely.any(|source| self.judge_sender(source, request, moment).is_ok())
    }

    fn judge<'r>(
        &self,
        routes: Option<&'r Routes>,
        topic: &str,
        request: &Incoming,
        moment: Moment,
    ) -> Result<Cow<'r, Source>, Outcome> {
        let Some(routes) = routes else { return self.judge_without_routes(topic, request, moment) };
        match routes.of_topic(topic) {
            Some(source) => self.judge_sender(&source, request, moment).map(|()| source),
            None => self.judge_own(routes.known("payload"), topic, request, moment),
        }
    }

    /// Accepts our own payload with `PRODUCER_TOKEN` if no document can say otherwise. All other senders must send again later.
    fn judge_without_routes<'r>(
        &self,
        topic: &str,
        request: &Incoming,
        moment: Moment,
    ) -> Result<Cow<'r, Source>, Outcome> {
        let payload = Source::built_in("payload").filter(|_| !self.secrets.has_senders());
        self.judge_own(payload.map(Cow::Owned), topic, request, moment).map_err(|_rejected| Outcome::StoreAway)
    }

    /// Returns the secrets of which one proves a source's sender.
    pub fn secrets_of(&self, source: &Source) -> &[Secret] {
        match &source.secret {
            Some(name) => self.secrets.named(name),
            None => self.tokens.as_slice(),
        }
    }

    /// Judges the sender of a request by a source.
    pub(crate) fn judge_sender(&self, source: &Source, request: &Incoming, moment: Moment) -> Result<(), Outcome> {
        let secrets = self.secrets_of(source);
        let can_seal = source.signature.is_none() || !self.secrets.named(SEAL_SECRET).is_empty();
        if !source.usable(secrets) || !can_seal {
            return Err(Outcome::SecretMissing(source.name.clone()));
        }
        let judged = source.admit(secrets, &request.headers, &request.body);
        judged.and_then(|stamp| source.judge(stamp, moment.now, Duration::ZERO)).map_err(Outcome::Unauthorized)
    }

    /// A topic that the document does not name takes our own payload, if `TOPICS` names it.
    fn judge_own<'r>(
        &self,
        payload: Option<Cow<'r, Source>>,
        topic: &str,
        request: &Incoming,
        moment: Moment,
    ) -> Result<Cow<'r, Source>, Outcome> {
        let is_listed = self.topics.iter().any(|known| known == topic);
        match payload.filter(|_| is_listed) {
            Some(payload) => self.judge_sender(&payload, request, moment).map(|()| payload),
            None => Err(bearer(&self.tokens, &request.headers)
                .map_or_else(Outcome::Unauthorized, |()| Outcome::UnknownTopic(topic.to_owned()))),
        }
    }
}
