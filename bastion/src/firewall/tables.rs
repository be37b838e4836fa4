//! Rulesets as commands: which of our tables they speak of, and what becomes of them before nft
//! gets them. Nothing is asked of the kernel here.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value, json};
use site::manifest::{EARLY_TABLE, EGRESS_TABLE, RENDERED_MARK, TABLE};

use super::compare;

/// A table that only serves for comparing: it sees no packet.
const REFERENCE: &str = "shelly_bastion_reference";
/// What makes a chain see packets.
const HOOKS: [&str; 5] = ["type", "hook", "prio", "policy", "dev"];

/// One of our tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) family: &'static str,
    pub(crate) name: &'static str,
}

/// The whole policy.
pub(crate) const WHOLE: Table = Table {
    family: "inet",
    name: TABLE,
};
/// What is in force until that one is loaded.
pub(crate) const EARLY: Table = Table {
    family: "inet",
    name: EARLY_TABLE,
};
/// What holds frames that the whole one has not passed. It names the device.
pub(crate) const EGRESS: Table = Table {
    family: "netdev",
    name: EGRESS_TABLE,
};
/// All of them; nothing else is ever changed.
pub(crate) const OURS: [Table; 3] = [EARLY, WHOLE, EGRESS];

impl Table {
    fn command(self, verb: &str) -> Value {
        json!({verb: {"table": {"family": self.family, "name": self.name}}})
    }

    /// Takes the table away, whether it is there or not.
    pub(super) fn removal(self) -> [Value; 2] {
        [self.command("add"), self.command("delete")]
    }

    /// The same with the name of what is only compared with.
    pub(super) fn reference(self) -> Table {
        Table {
            name: REFERENCE,
            ..self
        }
    }
}

/// A command, taken apart.
struct Command<'a> {
    table: Table,
    verb: &'a str,
    kind: &'a str,
    object: &'a Map<String, Value>,
}

impl<'a> Command<'a> {
    /// What it adds to its table, with this mark in place of the rendered one; nothing for the table
    /// itself, and for what takes away.
    fn part(&self, mark: u32) -> Option<(&'a str, Map<String, Value>)> {
        if self.verb != "add" || self.kind == "table" {
            return None;
        }
        let mut object = self.object.clone();
        put_mark(&mut object, mark);
        Some((self.kind, object))
    }
}

fn added((kind, object): (&str, Map<String, Value>)) -> Value {
    json!({"add": {kind: object}})
}

fn parse(command: &Value) -> Result<Command<'_>> {
    let outer = command.as_object().and_then(|map| map.iter().next());
    let inner = outer.and_then(|(verb, inner)| Some((verb, inner.as_object()?.iter().next()?)));
    let Some((verb, (kind, Value::Object(object)))) = inner else {
        bail!("the ruleset holds a command that this program does not know");
    };
    let key = if kind == "table" { "name" } else { "table" };
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    let table = OURS
        .into_iter()
        .find(|table| (text(key), text("family")) == (Some(table.name), Some(table.family)));
    let table =
        table.with_context(|| format!("the ruleset speaks of another table than {TABLE}"))?;
    Ok(Command {
        table,
        verb,
        kind,
        object,
    })
}

/// The commands of a ruleset, all of which speak of our own tables.
fn commands(ruleset: &Value) -> Result<Vec<Command<'_>>> {
    let list = ruleset.get("nftables").and_then(Value::as_array);
    let list = list.context("the ruleset has no list `nftables`")?;
    list.iter().map(parse).collect()
}

/// What one transaction brings: our tables as a ruleset has them, and none that it has not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transaction {
    /// The mark in place of the rendered one.
    pub(super) mark: u32,
    /// Whether the device's table comes along.
    pub(super) with_egress: bool,
    /// Whether one is there that has to go: a kernel without it takes no word of it.
    pub(super) egress_is_there: bool,
}

impl Transaction {
    pub(super) fn of(self, ruleset: &Value) -> Result<Value> {
        let goes = |table: &Table| *table != EGRESS || self.with_egress || self.egress_is_there;
        let comes = |table: Table| table != EGRESS || self.with_egress;
        let mut all: Vec<Value> = OURS
            .into_iter()
            .filter(goes)
            .flat_map(Table::removal)
            .collect();
        let parsed = commands(ruleset)?;
        for table in OURS {
            let is_made = parsed
                .iter()
                .any(|command| command.table == table && command.kind == "chain");
            if is_made && comes(table) {
                all.push(table.command("add"));
            }
        }
        let parts = parsed.iter().filter(|command| comes(command.table));
        all.extend(parts.filter_map(|part| part.part(self.mark)).map(added));
        Ok(json!({"nftables": all}))
    }
}

/// The device's table alone, with the mark of the loaded policy.
pub(super) fn egress_alone(ruleset: &Value, mark: u32) -> Result<Value> {
    let mut all = EGRESS.removal().to_vec();
    all.push(EGRESS.command("add"));
    let parsed = commands(ruleset)?;
    let parts = parsed.iter().filter(|command| command.table == EGRESS);
    all.extend(parts.filter_map(|part| part.part(mark)).map(added));
    Ok(json!({"nftables": all}))
}

/// Tables of a ruleset, each aimed at one that sees no packet.
pub(super) fn references(ruleset: &Value, tables: &[Table], mark: u32) -> Result<Value> {
    let parsed = commands(ruleset)?;
    let mut all = Vec::new();
    for table in tables {
        let aim = table.reference();
        all.extend(aim.removal());
        all.push(aim.command("add"));
        let parts = parsed.iter().filter(|command| command.table == *table);
        for (kind, mut object) in parts.filter_map(|part| part.part(mark)) {
            object.insert("table".to_owned(), json!(REFERENCE));
            if kind == "chain" {
                HOOKS.iter().for_each(|key| drop(object.remove(*key)));
            }
            all.push(added((kind, object)));
        }
    }
    Ok(json!({"nftables": all}))
}

/// Whether a ruleset makes a table.
pub(crate) fn makes(ruleset: &Value, table: Table) -> bool {
    commands(ruleset).is_ok_and(|commands| {
        let mut commands = commands.iter();
        commands.any(|command| command.table == table && command.kind == "chain")
    })
}

/// The device that a ruleset names; none when it holds no frames.
pub(super) fn device(ruleset: &Value) -> Option<String> {
    let commands = commands(ruleset).ok()?;
    let chain = commands
        .iter()
        .find(|command| command.table == EGRESS && command.kind == "chain")?;
    chain.object.get("dev")?.as_str().map(ToOwned::to_owned)
}

/// The device of a chain as nft prints it in words; its JSON leaves it out in some versions.
pub(super) fn device_in_words(listing: &str) -> Option<&str> {
    let words = |begin: &str, end: char| {
        let (_, rest) = listing.split_once(begin)?;
        Some(rest.split(end).next()?.trim().trim_matches('"'))
    };
    words("device \"", '"').or_else(|| words("devices = {", '}'))
}

/// Commands that make a table as it was listed. What a set learnt while it ran is left out: it
/// would be out of date.
pub(super) fn restoring(listing: &Value, device: Option<&str>) -> Vec<Value> {
    let mut commands = Vec::new();
    let objects: Vec<&Value> = compare::objects(listing).collect();
    // Rules name chains and sets, so those come first.
    let is_of = |kind: &str, group: usize| match kind {
        "metainfo" | "table" => false,
        "chain" => group == 1,
        "rule" => group == 2,
        _ => group == 0,
    };
    for group in 0..3 {
        for object in objects.iter().filter_map(|object| object.as_object()) {
            for (kind, object) in object.iter().filter(|(kind, _)| is_of(kind, group)) {
                let mut object = object.clone();
                if let Some(fields) = object.as_object_mut() {
                    fields.remove("handle");
                    if compare::learns(fields) {
                        fields.remove("elem");
                    }
                    if let Some(device) = device
                        && fields.contains_key("hook")
                    {
                        fields.insert("dev".to_owned(), json!(device));
                    }
                }
                commands.push(json!({"add": {kind: object}}));
            }
        }
    }
    commands
}

/// The mark that a listed table puts on what it passes.
pub(super) fn mark(listing: &Value) -> Option<u32> {
    let rules = compare::objects(listing).filter_map(|object| object.get("rule"));
    let mut statements = rules
        .filter_map(|rule| rule.get("expr")?.as_array())
        .flatten();
    let value = statements.find_map(|statement| {
        let set = statement.get("mangle").filter(|set| is_mark(set, "key"))?;
        set.get("value")?.as_u64()
    })?;
    u32::try_from(value).ok()
}

/// Whether a ruleset marks what it passes.
pub(super) fn marks(ruleset: &Value) -> bool {
    commands(ruleset).is_ok_and(|commands| {
        let mut rules = commands.iter().filter(|command| command.table == WHOLE);
        rules.any(|rule| {
            let statements = rule.object.get("expr").and_then(Value::as_array);
            let mut statements = statements.into_iter().flatten();
            statements.any(|statement| {
                let set = statement.get("mangle");
                set.is_some_and(|set| is_mark(set, "key"))
            })
        })
    })
}

fn is_mark(statement: &Value, side: &str) -> bool {
    let key = statement
        .get(side)
        .and_then(|side| side.pointer("/meta/key"));
    key.and_then(Value::as_str) == Some("mark")
}

/// Puts a mark in place of the rendered one in a rule's statements.
fn put_mark(rule: &mut Map<String, Value>, mark: u32) {
    let statements = rule.get_mut("expr").and_then(Value::as_array_mut);
    for statement in statements.into_iter().flatten() {
        for (kind, side, place) in [("mangle", "key", "value"), ("match", "left", "right")] {
            if let Some(statement) = statement.get_mut(kind)
                && is_mark(statement, side)
                && let Some(value) = statement.get_mut(place)
                && value.as_u64() == Some(u64::from(RENDERED_MARK))
            {
                *value = json!(mark);
            }
        }
    }
}

/// What makes a chain of a ruleset see packets.
pub(super) fn rendered_hooks(ruleset: &Value, table: Table, chain: &str) -> Vec<Value> {
    let commands = compare::objects(ruleset);
    let is = |object: &Value, key: &str, value: &str| {
        object.get(key).and_then(Value::as_str) == Some(value)
    };
    commands
        .filter_map(|command| command.get("add")?.get("chain"))
        .find(|object| is(object, "name", chain) && is(object, "table", table.name))
        .map(compare::hooked)
        .unwrap_or_default()
}

/// Makes sure that a ruleset speaks of nothing but our own tables.
pub(super) fn ensure_ours(ruleset: &Value) -> Result<()> {
    ensure!(
        !commands(ruleset)?.is_empty(),
        "the ruleset holds no command"
    );
    Ok(())
}
