//! A template as minijinja's instructions, with guards where minijinja would work without a charge.
//!
//! minijinja pays for nearly everything from its fuel, but not for walking into values: comparing,
//! hashing, joining and printing them.  Values share parts, so sixty times `[x, x]` is a small value
//! that takes years to walk.  A guard is a test or filter of `guards`, run on the operands of an
//! instruction before it; it charges what the instruction is going to cost, and fails where that is
//! more than is left.
use super::guards;
use minijinja::machinery::{eval, make_string_output, parse, CodeGenerator};
use minijinja::machinery::{Instruction, Instructions};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, Value};
use std::collections::{BTreeMap, BTreeSet};

const NAME: &str = "chat";

/// Filters and tests are looked up anew at each call; other numbers are places in a cache.
const NOT_CACHED: u8 = u8::MAX;

pub struct Program<'source> {
    main: Instructions<'source>,
    blocks: BTreeMap<&'source str, Instructions<'source>>,
}

impl<'source> Program<'source> {
    pub fn new(source: &'source str) -> Result<Self, Error> {
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?;
        let tree = parse(source, NAME, syntax)?;
        let mut generator = CodeGenerator::new(NAME, source);
        generator.compile_stmt(&tree);
        let (main, blocks) = generator.finish();
        let blocks = blocks.iter().map(|(name, block)| (*name, guarded(block)));
        Ok(Program {
            main: guarded(&main),
            blocks: blocks.collect(),
        })
    }

    pub fn run<'a>(&'a self, environment: &'a Environment<'a>, root: Value) -> Result<String, Error>
    where
        'source: 'a,
    {
        let mut text = String::new();
        let mut out = make_string_output(&mut text);
        let none = AutoEscape::None;
        eval(environment, &self.main, root, &self.blocks, &mut out, none)?;
        Ok(text)
    }
}

/// The same instructions with guards between them.
fn guarded<'source>(from: &Instructions<'source>) -> Instructions<'source> {
    let targets: BTreeSet<u32> = each(from).filter_map(target).collect();
    let mut writer = Writer {
        to: Instructions::new(from.name(), from.source()),
        next: 0,
        line: 0,
    };
    let mut places = vec![];
    let mut jumps = vec![];
    let mut plain_top = false;
    for (i, instruction) in (0..).zip(each(from)) {
        places.push(writer.next);
        writer.line = from.get_line(i).unwrap_or(0) as u16;
        writer.guards_for(instruction, plain_top && !targets.contains(&i));
        if target(instruction).is_some() {
            jumps.push(writer.next);
        }
        writer.put(guarded_form(instruction));
        writer.guards_after(instruction);
        plain_top = matches!(instruction, Instruction::LoadConst(c) if c.as_object().is_none());
    }
    places.push(writer.next);
    for jump in jumps {
        if let Some(target) = writer.to.get_mut(jump).and_then(target_mut) {
            *target = places[*target as usize];
        }
    }
    writer.to
}

fn each<'a, 'source>(
    from: &'a Instructions<'source>,
) -> impl Iterator<Item = &'a Instruction<'source>> {
    (0..).map_while(|i| from.get(i))
}

/// The instruction that this one may go on with, other than the next.
fn target(instruction: &Instruction) -> Option<u32> {
    target_mut(&mut instruction.clone()).copied()
}

fn target_mut<'a>(instruction: &'a mut Instruction) -> Option<&'a mut u32> {
    use Instruction::*;
    match instruction {
        Jump(to)
        | JumpIfFalse(to)
        | JumpIfFalseOrPop(to)
        | JumpIfTrueOrPop(to)
        | Iterate(to)
        | BuildMacro(_, to, _) => Some(to),
        _ => None,
    }
}

/// Mappings are built by a filter that looks at their keys.
fn guarded_form<'source>(instruction: &Instruction<'source>) -> Instruction<'source> {
    match *instruction {
        Instruction::BuildMap(pairs) => match u16::try_from(2 * pairs) {
            Ok(count) => Instruction::ApplyFilter(guards::MAP, Some(count), NOT_CACHED),
            Err(_) => Instruction::BuildMap(pairs), // written out in the template, so small
        },
        // With a list of arguments there is no telling what they are.
        Instruction::CallMethod("changed", None) => {
            Instruction::CallMethod("changed with a list of arguments", None)
        }
        Instruction::CallMethod("changed", Some(_)) => Instruction::CallMethod("changed", Some(2)),
        ref other => other.clone(),
    }
}

struct Writer<'source> {
    to: Instructions<'source>,
    next: u32,
    line: u16,
}

impl<'source> Writer<'source> {
    fn put(&mut self, instruction: Instruction<'source>) {
        self.next = self.to.add_with_line(instruction, self.line) + 1;
    }

    /// What has to come before an instruction.  `plain_top`: the top of the stack is a constant
    /// without parts, so that an operation on it and anything else is cheap.
    fn guards_for(&mut self, instruction: &Instruction<'source>, plain_top: bool) {
        use Instruction::*;
        match instruction {
            Eq | Ne | Lt | Lte | Gt | Gte if plain_top => {}
            Eq | Ne | Lt | Lte | Gt | Gte | In | CompareAndPreserve(_) => self.both(Self::check),
            StringConcat => self.both(|w| w.convert(guards::PRINTED, guards::TEXT)),
            GetItem if plain_top => {}
            GetItem => self.test(guards::KEY),
            Add => {
                // In Python, text added to a safe text is escaped, whatever the environment does.
                self.put(LoadConst(Value::from("html")));
                self.put(PushAutoEscape);
            }
            CallMethod("changed", Some(count)) => {
                self.put(BuildTuple(Some(usize::from(*count) - 1)));
                self.check();
            }
            _ => {}
        }
    }

    /// What has to come after an instruction.  Nested values are paid for.  Lazy ones become lists,
    /// since one over the other would make each item as dear as they are many.
    fn guards_after(&mut self, instruction: &Instruction<'source>) {
        use Instruction::*;
        if matches!(instruction, Add) {
            self.put(PopAutoEscape);
        }
        match instruction {
            Add | Mul | Slice | ApplyFilter(..) => self.convert(guards::LAZY, guards::LIST),
            BuildList(_) | BuildTuple(_) | BuildKwargs(_) => self.test(guards::LAZY),
            _ => {}
        }
    }

    /// Does something with each of the two values on top of the stack.
    fn both(&mut self, mut one: impl FnMut(&mut Self)) {
        for _ in 0..2 {
            one(self);
            self.put(Instruction::Swap);
        }
    }

    /// Pays for a walk into the value on top of the stack.
    fn check(&mut self) {
        self.test(guards::WALK);
    }

    /// A test of the value on top of the stack that is there for its charge or its error.
    fn test(&mut self, name: &'static str) {
        self.put(Instruction::DupTop);
        self.put(Instruction::PerformTest(name, Some(1), NOT_CACHED));
        self.put(Instruction::DiscardTop);
    }

    /// Filters the value on top of the stack if it passes the test.
    fn convert(&mut self, test: &'static str, filter: &'static str) {
        self.put(Instruction::DupTop);
        self.put(Instruction::PerformTest(test, Some(1), NOT_CACHED));
        self.put(Instruction::JumpIfFalse(self.next + 2));
        self.put(Instruction::ApplyFilter(filter, Some(1), NOT_CACHED));
    }
}
