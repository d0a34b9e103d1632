//! Which secret signs whose deliveries.
//!
//! A secret has a name, and follows from that name and the master secret (`crate::signing`). The name is the destination's id unless
//! the route says otherwise: so a destination has its secret whatever its route is called, and whenever it comes back. A route that is
//! moved takes its secret along, because its receiver knows it. Two destinations never come to share one unasked: each could sign
//! what the other believes.

use std::collections::BTreeMap;

use super::Route;

/// Names the secrets of routes that do not say. Returns what an operator must decide, a sentence each.
pub(super) fn assign(routes: &mut [Route], previous: &[Route]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut of_destination: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for route in routes.iter().filter(|route| !route.secrets.is_empty()) {
        let known = of_destination.entry(route.id.clone()).or_insert_with(|| route.secrets.clone());
        if *known != route.secrets {
            problems.push(format!("route \"{}\": another route to {} has another secret", route.name, route.url));
        }
    }
    let told: Vec<bool> = routes.iter().map(|route| of_destination.contains_key(&route.id)).collect();
    for route in routes.iter_mut().filter(|route| route.secrets.is_empty()) {
        let secrets = of_destination.entry(route.id.clone()).or_insert_with(|| inherited(route, previous));
        route.secrets.clone_from(secrets);
    }
    problems.extend(shared_unasked(routes, &told));
    problems
}

/// The secret that the receiver knows: the destination's, or, where the route was moved, that which it had before.
fn inherited(route: &Route, previous: &[Route]) -> Vec<String> {
    let same = previous.iter().find(|old| old.id == route.id);
    let known = same.or_else(|| previous.iter().find(|old| old.name == route.name));
    known.map(|old| old.secrets.clone()).filter(|secrets| !secrets.is_empty()).unwrap_or(vec![route.id.clone()])
}

fn shared_unasked(routes: &[Route], told: &[bool]) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, one) in routes.iter().enumerate() {
        for (other, other_told) in routes.iter().zip(told).take(index) {
            let secret = one.secrets.iter().find(|secret| other.secrets.contains(secret));
            if let Some(secret) = secret.filter(|_| one.id != other.id && !(told[index] && *other_told)) {
                problems.push(format!(
                    "routes \"{}\" and \"{}\" would share the secret \"{secret}\": write secret = \"…\" for both, one of \
                     them with a new name, or both with the same if their receivers are one",
                    other.name, one.name
                ));
            }
        }
    }
    problems
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
        assert_eq!(secrets(&[shop.clone(), route("store", "a", "")], "store"), own("a"));
        assert_eq!(secrets(&[shop.clone(), route("shop", "b", "")], "shop"), own("a"));
        assert_eq!(secrets(&[shop.clone(), route("store", "a", ""), route("store", "b", "")], "store"), own("a"));
        let named = route("shop", "a", "secret = \"mine\"");
        assert_eq!(secrets(&[named, route("store", "a", "")], "store"), ["mine"]);
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
