//! Which secret signs whose deliveries.
//!
//! A secret has a name, and follows from that name and the master secret (`crate::signing`). The name is the destination's id unless
//! the route says otherwise: so a destination has its secret whatever its route is called, and whenever it comes back. A route that is
//! moved on its host takes its secret along, because its receiver knows it. Where a change could give one party's secret to another,
//! the operator is asked: each could sign what the other believes.

use std::collections::BTreeMap;

use url::Url;

use super::Route;

/// What an operator must decide: of which route, and a sentence.
type Problem = (usize, String);

/// Names the secrets of routes that do not say. Returns what an operator must decide.
pub(super) fn assign(routes: &mut [Route], previous: &[Route]) -> Vec<Problem> {
    let (mut of_destination, mut problems) = told_by_routes(routes);
    let told: Vec<bool> = routes.iter().map(|route| of_destination.contains_key(&route.id)).collect();
    for at in untold(routes, previous) {
        let route = &mut routes[at];
        let known = known_to_receiver(route, previous);
        if let Some(old) = known.filter(|old| host(old) != host(route) && !told[at]) {
            problems.push((at, who_is_there(route, old)));
        }
        let own = vec![route.id.clone()];
        let inherited = || known.map_or(own, |old| old.secret_names().to_vec());
        route.secrets.clone_from(of_destination.entry(route.id.clone()).or_insert_with(inherited));
    }
    problems.extend(shared_unasked(routes, &told));
    problems
}

/// The secrets that routes name, by destination, and where two of them contradict each other.
fn told_by_routes(routes: &[Route]) -> (BTreeMap<String, Vec<String>>, Vec<Problem>) {
    let (mut of_destination, mut problems) = (BTreeMap::new(), Vec::new());
    for (at, route) in routes.iter().enumerate().filter(|(_, route)| !route.secrets.is_empty()) {
        let known = of_destination.entry(route.id.clone()).or_insert_with(|| route.secrets.clone());
        if *known != route.secrets {
            problems.push((at, format!("route \"{}\": another route to {} has another secret", route.name, route.url)));
        }
    }
    (of_destination, problems)
}

/// The routes that name none. Of several to one destination that one comes first whose receiver knows a secret.
fn untold(routes: &[Route], previous: &[Route]) -> Vec<usize> {
    let mut untold: Vec<usize> = (0..routes.len()).filter(|at| routes[*at].secrets.is_empty()).collect();
    untold.sort_by_key(|at| known_to_receiver(&routes[*at], previous).is_none());
    untold
}

/// The route whose secret the receiver knows: the destination's, or, where the route was moved, the one that it was.
fn known_to_receiver<'a>(route: &Route, previous: &'a [Route]) -> Option<&'a Route> {
    let same = previous.iter().find(|old| old.id == route.id);
    same.or_else(|| previous.iter().find(|old| old.name == route.name))
}

fn host(route: &Route) -> Option<String> {
    Url::parse(&route.url).ok()?.host_str().map(str::to_owned)
}

fn who_is_there(route: &Route, old: &Route) -> String {
    let Route { name, url, .. } = route;
    let known = old.secret_names().iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let known = if old.secret_names().len() == 1 { known } else { format!("[{known}]") };
    format!(
        "route \"{name}\" moves from {} to another host, {url}: write secret = {known} if the same receiver is there, which \
         knows it, or secret = \"…\" with a new name if it is another party's",
        old.url
    )
}

fn shared_unasked(routes: &[Route], told: &[bool]) -> Vec<Problem> {
    let unasked = pairs(routes).into_iter().filter(|pair| !(told[pair.one] && told[pair.other]));
    unasked
        .map(|Pair { one, other, secret }| {
            let sentence = format!(
                "routes \"{}\" and \"{}\" would share the secret \"{secret}\": write secret = \"…\" for both, one of \
                 them with a new name, or both with the same if their receivers are one",
                routes[other].name, routes[one].name
            );
            (one, sentence)
        })
        .collect()
}

/// Which destinations come to share a secret in a rollback that shared none in the `old` version, of the same routes; a sentence each.
pub(super) fn newly_shared(routes: &[Route], old: &[Route]) -> Vec<String> {
    let known = pairs(old);
    let new = pairs(routes)
        .into_iter()
        .filter(|pair| !known.iter().any(|old| (old.one, old.other) == (pair.one, pair.other)));
    new.map(|Pair { one, other, secret }| {
        format!(
            "routes \"{}\" and \"{}\" would come to share the secret \"{secret}\": apply that version's document \
             instead, with secret = \"…\" for both",
            routes[other].name, routes[one].name
        )
    })
    .collect()
}

/// Two routes to different destinations with one secret.
struct Pair<'a> {
    one: usize,
    other: usize,
    secret: &'a str,
}

fn pairs(routes: &[Route]) -> Vec<Pair<'_>> {
    let all = (0..routes.len()).flat_map(|one| (0..one).map(move |other| (one, other)));
    let sharing = all.filter(|(one, other)| routes[*one].id != routes[*other].id).filter_map(|(one, other)| {
        let secret = routes[one].secret_names().iter().find(|secret| routes[other].secret_names().contains(secret))?;
        Some(Pair { one, other, secret })
    });
    sharing.collect()
}

#[cfg(test)]
mod tests {
    use super::super::Routes;

    fn route(name: &str, host: &str, more: &str) -> String {
        format!("[[route]]\nname = \"{name}\"\nsource = \"strapi\"\nurl = \"https://{host}.example/\"\n{more}\n")
    }

    fn after(documents: &[String]) -> Result<Routes, String> {
        let mut routes = Routes::default();
        for document in documents {
            routes = Routes::compile(document, &routes).map_err(|error| error.to_string())?;
        }
        Ok(routes)
    }

    fn secrets(documents: &[String], name: &str) -> Vec<String> {
        after(documents).unwrap().by_name(name).unwrap().secrets.clone()
    }

    /// The name of the secret of a destination that nobody named.
    fn own(host: &str) -> Vec<String> {
        vec![super::super::destination_id("strapi", &format!("https://{host}.example/"))]
    }

    #[test]
    fn a_new_destination_has_a_secret_of_its_own() {
        assert_eq!(secrets(&[route("shop", "a", "")], "shop"), own("a"));
        assert_eq!(secrets(&[route("shop", "a", "secret = [\"new\", \"old\"]")], "shop"), ["new", "old"]);
    }

    #[test]
    fn a_receiver_keeps_its_secret_when_its_route_is_renamed_or_moved() {
        let shop = route("shop", "a", "");
        let elsewhere = shop.replace("example/", "example/new");
        assert_eq!(secrets(&[shop.clone(), route("store", "a", "")], "store"), own("a"));
        assert_eq!(secrets(&[shop.clone(), elsewhere.clone()], "shop"), own("a"));
        assert_eq!(secrets(&[shop.clone(), elsewhere, shop], "shop"), own("a"));
        let named = route("shop", "a", "secret = \"mine\"");
        assert_eq!(secrets(&[named, route("store", "a", "")], "store"), ["mine"]);
        let beside = |name: &str| route(name, "a", "").replace("example/", "example/new");
        for both in [beside("shop") + &beside("more"), beside("more") + &beside("shop")] {
            assert_eq!(secrets(&[route("shop", "a", ""), both], "shop"), own("a"));
        }
    }

    /// Named after a defect: whoever took over a route knew the secret of whoever had been there.
    #[test]
    fn a_route_that_moves_to_another_host_asks_whose_that_is() {
        let shop = route("shop", "a", "");
        let problem = after(&[shop.clone(), route("shop", "b", "")]).unwrap_err();
        let known = &own("a")[0];
        let asked = "line 2: route \"shop\" moves from https://a.example/ to another host, https://b.example/";
        assert!(problem.contains(asked), "{problem}");
        assert!(problem.contains(&format!("write secret = \"{known}\" if")), "{problem}");
        let same = route("shop", "b", &format!("secret = \"{known}\""));
        assert_eq!(secrets(&[shop.clone(), same], "shop"), own("a"));
        assert_eq!(secrets(&[shop, route("shop", "b", "secret = \"new\"")], "shop"), ["new"]);
        let two = route("shop", "a", "secret = [\"x\", \"y\"]");
        assert!(after(&[two, route("shop", "b", "")]).unwrap_err().contains("secret = [\"x\", \"y\"] if"));
    }

    #[test]
    fn a_name_that_is_used_again_later_does_not_bring_an_old_secret_back() {
        let (first, second) = (route("shop", "a", ""), route("shop", "b", ""));
        assert_eq!(secrets(&[first.clone(), String::new(), second], "shop"), own("b"));
        assert_eq!(secrets(&[first.clone(), String::new(), first], "shop"), own("a"));
    }

    #[test]
    fn names_that_are_swapped_leave_the_secrets_where_they_are_known() {
        let before = route("shop", "a", "") + &route("depot", "b", "");
        let after = route("depot", "a", "") + &route("shop", "b", "");
        assert_eq!(secrets(&[before.clone(), after.clone()], "depot"), own("a"));
        assert_eq!(secrets(&[before, after], "shop"), own("b"));
    }

    #[test]
    fn nobody_comes_to_share_a_secret_by_a_rollback() {
        let first = route("shop", "c", "") + &route("depot", "b", "");
        let taken_along = route("depot", "c", &format!("secret = \"{}\"", own("b")[0]));
        let moved = [first.clone(), route("depot", "b", ""), taken_along];
        let (old, current) = (after(&[first]).unwrap(), after(&moved).unwrap());
        assert_eq!(current.routes[0].secrets, own("b"));
        let error = old.restored(&current).unwrap_err().to_string();
        assert!(error.contains("\"shop\" and \"depot\" would come to share"), "{error}");
        assert!(old.restored(&old).is_ok());
    }

    #[test]
    fn nobody_comes_to_share_a_secret_unasked() {
        let shop = route("shop", "a", "");
        let problem = |second: String| after(&[shop.clone(), second]).unwrap_err();
        let renamed = route("store", "a", "");
        assert!(problem(renamed.clone() + &route("shop", "b", "")).contains("would share the secret"));
        assert!(problem(route("shop", "b", "") + &renamed).contains("would share"));
        let told = |name: &str, host: &str| route(name, host, "secret = \"one\"");
        assert!(
            after(&[told("shop", "a"), told("store", "a") + &route("shop", "b", "")]).unwrap_err().contains("share")
        );
        assert!(after(&[told("shop", "a") + &told("store", "b")]).is_ok());
    }

    #[test]
    fn routes_to_one_destination_sign_with_one_secret() {
        let two = route("shop", "a", "") + &route("shop-media", "a", "events = [\"media.*\"]");
        assert_eq!(secrets(std::slice::from_ref(&two), "shop-media"), own("a"));
        let told = route("shop", "a", "") + &route("shop-media", "a", "secret = \"m\"");
        assert_eq!(secrets(&[told], "shop"), ["m"]);
        let both = route("shop", "a", "secret = \"s\"") + &route("shop-media", "a", "secret = \"m\"");
        assert!(after(&[both]).unwrap_err().contains("another secret"));
    }
}
