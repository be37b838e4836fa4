//! The lab as a picture: networks, machines, and each line of `docs/security.md` as an arrow.

use maud::{Markup, html};

use super::Run;
use super::page::{Standing, standing};
use crate::proof::{self, Line};

type Point = (u16, u16);

/// Where a line of the page is drawn: its number, or the first rule of a refusal; from where, to
/// where, and the place of its label.
struct Way {
    line: &'static str,
    from: Point,
    to: Point,
    label: Point,
}

const fn way(line: &'static str, from: Point, to: Point, label: Point) -> Way {
    Way {
        line,
        from,
        to,
        label,
    }
}

const WAYS: [Way; 18] = [
    way("F0", (198, 294), (198, 294), (174, 294)),
    way("F1", (136, 98), (136, 232), (136, 146)),
    way("F9", (163, 240), (163, 104), (163, 182)),
    way("F5", (190, 240), (190, 104), (190, 146)),
    way("F6", (217, 240), (217, 104), (217, 182)),
    way("F4", (120, 248), (70, 248), (96, 248)),
    way("F7", (120, 268), (70, 268), (96, 268)),
    way("F8", (120, 288), (70, 288), (96, 288)),
    way("F2", (138, 466), (138, 320), (138, 392)),
    way("F3", (181, 466), (181, 320), (181, 372)),
    way("refuse-lan-v4", (230, 316), (230, 458), (230, 392)),
    way("refuse-segment-v4", (120, 308), (72, 308), (96, 308)),
    way("refuse-private-v4", (258, 316), (312, 458), (278, 368)),
    way("refuse-public-v4", (130, 236), (72, 174), (98, 203)),
    way("refuse-next-hop-v4", (276, 274), (310, 274), (291, 274)),
    way("refuse-rest-out", (250, 232), (276, 106), (261, 182)),
    way("refuse-rest-in", (326, 98), (276, 226), (307, 146)),
    way("refuse-forward", (352, 316), (352, 458), (352, 392)),
];

/// A machine: its name, left upper corner, width and height.
const MACHINES: [(&str, Point, Point); 8] = [
    ("meters", (84, 52), (166, 46)),
    ("stranger", (262, 52), (126, 46)),
    ("bastion", (124, 236), (148, 76)),
    ("neighbour", (316, 236), (74, 76)),
    ("collector", (78, 466), (76, 48)),
    ("admin", (160, 466), (46, 48)),
    ("database", (212, 466), (70, 48)),
    ("home server", (288, 466), (102, 48)),
];

/// A network: its name, the upper edge and the height.
const NETWORKS: [(&str, u16, u16); 3] = [
    ("WAN · Internet", 10, 104),
    ("DMZ", 206, 128),
    ("LAN", 426, 108),
];

/// The way of a line of the page, if it is drawn.
fn way_of(line: &Line) -> Option<&'static Way> {
    WAYS.iter().find(|way| {
        way.line == line.number
            || line.refused && line.rules.first().is_some_and(|rule| rule == way.line)
    })
}

pub(super) fn draw(run: &Run) -> Markup {
    let lines = proof::lines();
    html! {
        svg viewBox="0 0 400 544" role="img" aria-label="The lab's networks and machines, with every flow that is allowed and every refusal" {
            defs {
                @for kind in ["allowed", "refused", "broken", "unjudged"] {
                    marker id={ "end-" (kind) } class={ "end " (kind) } viewBox="0 0 10 10" refX="8" refY="5"
                        markerWidth="7" markerHeight="7" markerUnits="userSpaceOnUse" orient="auto-start-reverse" {
                        path d="M0 0 L10 5 L0 10 z" {}
                    }
                    marker id={ "stop-" (kind) } class={ "end " (kind) } viewBox="0 0 6 14" refX="3" refY="7"
                        markerWidth="6" markerHeight="14" markerUnits="userSpaceOnUse" orient="auto" {
                        path d="M1 0 H5 V14 H1 z" {}
                    }
                }
            }
            @for (name, top, height) in NETWORKS {
                rect.network x="4" y=(top) width="392" height=(height) rx="10" {}
                text.network-name x="388" y=(top + 18) text-anchor="end" { (name) }
            }
            rect.machine.router x="14" y="10" width="50" height="524" rx="8" {}
            text.machine-name transform="rotate(-90 39 272)" x="39" y="276" text-anchor="middle" { "router" }
            @for (name, (left, top), (width, height)) in MACHINES {
                rect.machine.bastion[name == "bastion"] x=(left) y=(top) width=(width) height=(height) rx="8" {}
                text.machine-name x=(left + width / 2) y=(if name == "bastion" { top + 36 } else { top + height / 2 + 4 })
                    text-anchor="middle" { (name) }
            }
            text.small x="191" y="298" { "loopback" }
            @for way in &WAYS {
                @let ours = lines.iter().filter(|line| way_of(line).is_some_and(|found| found.line == way.line));
                @let ours = ours.collect::<Vec<_>>();
                @if let Some(first) = ours.first() {
                    (arrow(run, way, first, &ours))
                }
            }
        }
    }
}

fn arrow(run: &Run, way: &Way, first: &Line, all: &[&Line]) -> Markup {
    // The worst of what shares an arrow is shown.
    let standing = all.iter().map(|line| standing(run, line)).max();
    let class = match standing {
        Some(Standing::Broken) => "broken",
        Some(Standing::Holds) if first.refused => "refused",
        Some(Standing::Holds) => "allowed",
        _ => "unjudged",
    };
    let end = if first.refused { "stop" } else { "end" };
    let ((x, y), (to_x, to_y)) = (way.from, way.to);
    let both_ways = matches!(way.line, "F7" | "F8");
    let (label_x, label_y) = way.label;
    html! {
        a href={ "#" (first.anchor()) } class={ "way " (class) } {
            title { (first.number) ": " (first.says.replace('`', "")) }
            @if way.from != way.to {
                path.line d={ "M" (x) " " (y) " L" (to_x) " " (to_y) } stroke-dasharray=[first.refused.then_some("5 4")]
                    marker-start=[both_ways.then(|| format!("url(#end-{class})"))]
                    marker-end={ "url(#" (end) "-" (class) ")" } {}
            }
            rect.label x=(label_x - 13) y=(label_y - 9) width="26" height="18" rx="9" {}
            text.label x=(label_x) y=(label_y + 4) text-anchor="middle" { (first.number) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_page_is_drawn_and_nothing_else() {
        let lines = proof::lines();
        let undrawn: Vec<&str> = lines
            .iter()
            .filter(|line| way_of(line).is_none())
            .filter_map(|line| line.rules.first().map(String::as_str))
            .collect();
        assert!(
            undrawn.is_empty(),
            "say in WAYS where these go: {undrawn:?}"
        );
        for way in &WAYS {
            assert!(
                lines
                    .iter()
                    .any(|line| way_of(line).is_some_and(|found| found.line == way.line)),
                "{} is no line of the page",
                way.line
            );
        }
    }
}
