//! The page and the JUnit file of a run: complete, and nothing in them that a browser obeys.

use super::*;

fn entry(name: &'static str, verdict: Verdict, said: &str) -> Entry {
    Entry {
        name,
        verdict,
        took: Duration::from_millis(1500),
        said: said.to_owned(),
    }
}

fn run() -> Run {
    let attempt = Attempt {
        sender: "the broker's user".to_owned(),
        whom: "home server".to_owned(),
        target: "tcp:10.0.0.40:80".to_owned(),
        expected: "refused",
        outcomes: ["open", "<b>open</b>", "refused"].map(str::to_owned),
        holds: false,
    };
    Run {
        tier: "containers",
        begun: SystemTime::UNIX_EPOCH,
        took: Duration::from_secs(61),
        about: About {
            versions: vec![("nft".to_owned(), "1.0 <&>".to_owned())],
            seed: Some(7),
            taken_out: Some(("refuse-lan-v4".to_owned(), "the LAN is \"out\"".to_owned())),
            attempts: vec![attempt],
        },
        entries: vec![
            entry(
                "isolation::bastion_cannot_reach_the_home_server",
                Verdict::Failed,
                "promise broken: <script>alert(1)</script>\nlogs: /somewhere",
            ),
            entry("limits::echo", Verdict::Passed, "10 & 60"),
            entry("isolation::again", Verdict::LeftOut, ""),
            entry("outage::link", Verdict::OnlyInFull, ""),
            entry("identity::other", Verdict::LeftOut, ""),
        ],
    }
}

#[test]
fn the_page_escapes_what_programs_say_and_needs_nothing_from_elsewhere() {
    let page = page::write(&run());
    assert!(!page.contains("<script"), "{page}");
    assert!(!page.contains("<b>open"), "{page}");
    assert!(page.contains("1.0 &lt;&amp;&gt;"));
    for elsewhere in ["http:", "https:", "src=", "@import", "url(http"] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
}

#[test]
fn the_page_names_every_scenario_the_seed_and_the_rule() {
    let page = page::write(&run());
    for word in [
        "1 of 2 scenarios failed",
        "isolation: bastion cannot reach the home server",
        "outage: link",
        "identity: other",
        "--seed 7",
        "refuse-lan-v4",
        "10 &amp; 60",
    ] {
        assert!(page.contains(word), "{word}");
    }
}

/// Whoever follows a link lands somewhere.
#[test]
fn every_link_leads_to_a_place_on_the_page() {
    let page = page::write(&run());
    let links: Vec<&str> = page
        .split("href=\"#")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(links.len() > 18, "{} links", links.len());
    for link in links {
        let places = page.matches(&format!("id=\"{link}\"")).count();
        assert_eq!(places, 1, "{link}");
    }
}

#[test]
fn the_file_for_machines_counts_and_names_what_was_skipped() {
    let xml = junit::write(&run()).unwrap();
    for part in [
        "tests=\"5\" failures=\"1\"",
        "only with --full",
        "left out by the command line",
        "&lt;script&gt;",
        "10 &amp; 60",
    ] {
        assert!(xml.contains(part), "{part}: {xml}");
    }
    assert_eq!(xml.matches("testcase name=\"isolation::again\"").count(), 1);
}
