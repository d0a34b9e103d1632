use super::*;
use crate::config::Variables;

const EU: [(&str, &str); 3] = [
    ("EU_CENTRAL_1_QSTASH_TOKEN", "eu-token"),
    ("EU_CENTRAL_1_QSTASH_CURRENT_SIGNING_KEY", "sig_eu"),
    ("EU_CENTRAL_1_QSTASH_NEXT_SIGNING_KEY", "sig_eu_next"),
];
const US: [(&str, &str); 3] = [
    ("US_EAST_1_QSTASH_TOKEN", "us-token"),
    ("US_EAST_1_QSTASH_CURRENT_SIGNING_KEY", "sig_us"),
    ("US_EAST_1_QSTASH_NEXT_SIGNING_KEY", "sig_us_next"),
];
const OLD: [(&str, &str); 3] = [
    ("QSTASH_TOKEN", "plain-token"),
    ("QSTASH_CURRENT_SIGNING_KEY", "sig_plain"),
    ("QSTASH_NEXT_SIGNING_KEY", "sig_plain_next"),
];

fn with<T>(groups: &[&[(&str, &str)]], read: impl Fn(&mut Reader<'_>) -> T) -> (T, String) {
    let pairs = groups.iter().copied().flatten().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let table: std::collections::HashMap<String, String> = pairs.collect();
    let variables = Variables::plain(move |name| table.get(name).cloned());
    let mut reader = Reader::new(&variables);
    let value = read(&mut reader);
    (value, reader.finish().err().map(|error| error.to_string()).unwrap_or_default())
}

/// Region, host and token of each account.
fn accounts(groups: &[&[(&str, &str)]]) -> Vec<(Option<Region>, String, String)> {
    let (accounts, problems) = with(groups, |reader| reader.qstash_accounts());
    assert_eq!(problems, "");
    let told = |account: Account| {
        (account.region, account.url.host_str().unwrap_or_default().to_owned(), account.token.expose().to_owned())
    };
    accounts.unwrap().into_iter().map(told).collect()
}

fn own(value: &str) -> [(&str, &str); 1] {
    [("QSTASH_REGION", value)]
}

#[test]
fn without_a_region_the_plain_names_count_and_no_others() {
    let plain = [(None, "qstash.upstash.io".to_owned(), "plain-token".to_owned())];
    assert_eq!(accounts(&[&OLD]), plain);
    assert_eq!(accounts(&[&OLD, &EU, &US]), plain);
    let (keys, problems) = with(&[&OLD, &EU], |reader| reader.signing_keys());
    assert_eq!(problems, "");
    assert_eq!(keys, SigningKeys::new(["sig_plain", "sig_plain_next"].into_iter().filter_map(Secret::new).collect()));
}

#[test]
fn with_a_region_its_account_comes_first_and_the_other_counts_where_it_is_set() {
    let eu = (Some(Region::EuCentral1), "qstash-eu-central-1.upstash.io".to_owned(), "eu-token".to_owned());
    let us = (Some(Region::UsEast1), "qstash-us-east-1.upstash.io".to_owned(), "us-token".to_owned());
    assert_eq!(accounts(&[&own("EU_CENTRAL_1"), &EU]), std::slice::from_ref(&eu));
    assert_eq!(accounts(&[&own("us-east-1"), &EU, &US, &OLD]), [us.clone(), eu.clone()]);
    assert_eq!(accounts(&[&own("EU-CENTRAL-1"), &EU, &US]), [eu, us]);
    let (publishes, _) = with(&[&own("US_EAST_1"), &EU, &US], |reader| reader.qstash());
    assert_eq!(publishes.unwrap().1.expose(), "us-token");
}

#[test]
fn keys_of_both_regions_may_sign() {
    let (keys, problems) = with(&[&own("US_EAST_1"), &EU, &US], |reader| reader.signing_keys());
    let pair = |region, names: [&str; 2]| {
        let keys = names.into_iter().filter_map(Secret::new).collect();
        RegionKeys { region: Some(region), keys }
    };
    let regions =
        vec![pair(Region::UsEast1, ["sig_us", "sig_us_next"]), pair(Region::EuCentral1, ["sig_eu", "sig_eu_next"])];
    assert_eq!((keys, problems.as_str()), (SigningKeys::of_regions(regions), ""));
}

#[test]
fn a_region_that_does_not_exist_is_refused_once() {
    let read = |reader: &mut Reader<'_>| (reader.qstash_accounts().is_none(), reader.signing_keys().is_none());
    let (values, problems) = with(&[&own("eu-west-1"), &EU, &OLD], read);
    assert_eq!(values, (true, true));
    assert_eq!(problems.matches("QSTASH_REGION").count(), 1, "{problems}");
    assert!(problems.contains("is \"eu-west-1\", but must be EU_CENTRAL_1 or US_EAST_1"), "{problems}");
}

#[test]
fn half_set_regions_are_refused_with_what_is_missing() {
    let all = |reader: &mut Reader<'_>| (reader.qstash_accounts().is_some(), reader.signing_keys().is_some());
    let complete = [&EU[..], &US[..]].concat();
    for missing in 0..complete.len() {
        let mut some = complete.clone();
        let (name, _) = some.remove(missing);
        let (_, problems) = with(&[&own("EU_CENTRAL_1"), &some], all);
        assert_eq!(problems.lines().count(), 2, "{name}: {problems}");
        assert!(problems.contains(&format!("{name} is missing")), "{name}: {problems}");
        let is_other = problems.contains("because another variable of US_EAST_1 is set");
        assert_eq!(is_other, name.starts_with("US"), "{problems}");
    }
    assert_eq!(with(&[&own("EU_CENTRAL_1"), &complete], all), ((true, true), String::new()));
}

#[test]
fn a_host_alone_makes_a_region_half_set() {
    let url = [("US_EAST_1_QSTASH_URL", "https://qstash-us-east-1.upstash.io")];
    let (_, problems) = with(&[&own("EU_CENTRAL_1"), &EU, &url], |reader| reader.qstash_accounts());
    assert!(problems.contains("US_EAST_1_QSTASH_TOKEN is missing"), "{problems}");
}

#[test]
fn a_function_needs_only_the_variables_that_it_uses() {
    // The consumer has no token, the DLQ processor no keys.
    let (keys, problems) = with(&[&own("US_EAST_1"), &EU[1..], &US[1..]], |reader| reader.signing_keys());
    assert_eq!((keys.is_some(), problems.as_str()), (true, ""));
    assert_eq!(accounts(&[&own("US_EAST_1"), &EU[..1], &US[..1]]).len(), 2);
    let (own_only, problems) = with(&[&own("US_EAST_1"), &US[..1]], |reader| reader.qstash());
    assert_eq!((own_only.is_some(), problems.as_str()), (true, ""));
}

#[test]
fn hosts_and_keys_of_the_other_region_are_refused() {
    for host in ["https://qstash-eu-central-1.upstash.io", "https://qstash.upstash.io"] {
        let url = [("US_EAST_1_QSTASH_URL", host)];
        let problems = with(&[&own("US_EAST_1"), &US, &url], |reader| reader.qstash_accounts()).1;
        assert!(
            problems.contains("US_EAST_1_QSTASH_URL is") && problems.contains("the host of EU_CENTRAL_1"),
            "{problems}"
        );
    }
    let copied = [("EU_CENTRAL_1_QSTASH_CURRENT_SIGNING_KEY", "sig_us_next")];
    let problems = with(&[&own("US_EAST_1"), &EU, &US, &copied], |reader| reader.signing_keys()).1;
    assert!(problems.contains("is a key of the other region") && !problems.contains("sig_us"), "{problems}");
}
