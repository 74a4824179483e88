//! What an environment may lay over the manifest.

use longshore_contract::Secret;

use super::collection::{FunctionKey, Later, Names, TargetKey, VariableKey};
use super::forms::FunctionEntry;
use super::known::KnownProvider;
use super::reader::{Pass, Reader};
use super::shape::{Key, Laid, Presence, Shape, Table, Written, laid_over};
use super::target::Target;
use super::tree::Node;
use super::value::Word;

/// An environment. It is only checked here: it is laid over the tree before anything is read from that.
#[derive(Debug, Clone)]
pub(crate) struct Environment;

const KEYS: [&str; 5] = ["name", "vars", "ledger", "targets", "functions"];
const OWN: Presence = Presence::Otherwise("the manifest's own");

impl Written for Environment {
    fn shape(known: &[KnownProvider]) -> Shape {
        let key = |name, doc: &str, shape, example| Key {
            name,
            doc: doc.to_owned(),
            presence: OWN,
            shape,
            examples: vec![example],
        };
        let vars = Names::<VariableKey, Later<Secret>>::shape(known);
        let targets = Names::<TargetKey, Later<Target>>::shape(known);
        let functions = Names::<FunctionKey, Later<FunctionEntry>>::shape(known);
        laid_over(Shape::Table(Table {
            name: "environment".to_owned(),
            doc: "What an environment lays over the manifest.".to_owned(),
            laid: Laid::Alone,
            keys: vec![
                key("name", "Replaces the manifest's name.", Word::shape(known), "shop-staging"),
                key("vars", "Merges into `vars`.", vars, "{ tag: v1.2 }"),
                key("ledger", "Replaces the ledger.", String::shape(known), ".longshore/staging"),
                key("targets", "Merges into `targets`.", targets, "{ here: { provider: local } }"),
                key(
                    "functions",
                    "Merges into `functions`.",
                    functions,
                    "{ checkout: { shift: { soak: 15m } } }",
                ),
            ],
        }))
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let known = reader.known_keys(node, &KEYS)?;
        reader.during(Pass::Over, |reader| {
            reader.field::<Word>(node, "name", OWN, &[]);
            reader.field::<Names<VariableKey, Later<Secret>>>(node, "vars", OWN, &[]);
            reader.field::<String>(node, "ledger", OWN, &[]);
            reader.field::<Names<TargetKey, Later<Target>>>(node, "targets", OWN, &[]);
            reader.field::<Names<FunctionKey, Later<FunctionEntry>>>(node, "functions", OWN, &[]);
        });
        known.then_some(Self)
    }
}
