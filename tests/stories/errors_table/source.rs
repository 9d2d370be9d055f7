//! What src/ says about errors: every place that makes one, as `syn` reads it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use syn::buffer::{Cursor, TokenBuffer};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, Expr, Token};

/// What stands for a value in a message.
pub const GAP: &str = "…";

/// A place that makes an error.
pub struct Site {
    /// the file, and the function in it
    pub place: String,
    /// its SQLSTATE; several with a match; none where a variable has it
    pub codes: Vec<String>,
    /// its message, values as [`GAP`]; several with a match; none where it is composed otherwise
    pub patterns: Vec<String>,
    /// `.hint(` follows
    pub has_own_hint: bool,
    /// so it does, or a hint is spoken of in the function, or in one that it gives the error to
    pub is_near_hint: bool,
}

/// What a function speaks of.
#[derive(Default)]
struct Spoken {
    name: String,
    has_hint: bool,
    /// it is `fn … -> Error`
    gives_error: bool,
    calls: HashSet<String>,
}

/// What a file says.
pub struct File {
    /// errors that are made in it
    pub sites: Vec<Site>,
    /// all texts in it, values as [`GAP`]
    pub texts: Vec<String>,
    /// it speaks of a hint
    pub has_hint: bool,
    /// SQLSTATEs that it names
    pub codes: HashSet<String>,
    /// functions by place, those of one name together
    functions: HashMap<String, Spoken>,
}

/// What a text can be as a SQLSTATE and as a message.
type Value = (Vec<String>, Vec<String>);

/// A function that makes an error of a message that it is given.
#[derive(Clone)]
struct Helper {
    path: String,
    /// no closure
    is_public: bool,
    argument: usize,
    codes: Vec<String>,
    has_hint: bool,
}

/// What has to be known of all files before each is read.
struct Known {
    codes: HashMap<String, String>,
    helpers: HashMap<String, Vec<Helper>>,
    /// by file and name: constants, and functions that only make a text
    values: HashMap<(String, String), Value>,
}

/// All files of src/ but tests and the fuzz targets.
pub fn read(root: &Path) -> Vec<File> {
    let mut paths = Vec::new();
    list(&root.join("src"), &mut paths);
    paths.sort();
    // The type's own file makes none of the code's errors.
    paths.retain(|path| !path.ends_with("src/error.rs"));
    let mut known = Known {
        codes: codes(root),
        helpers: HashMap::new(),
        values: HashMap::new(),
    };
    let files = paths.iter().map(|path| {
        let name = path.strip_prefix(root).expect("below the root").display().to_string();
        (name, parse(path))
    });
    let files = files.collect::<Vec<_>>();
    for (name, file) in &files {
        let Reader { helpers, values, .. } = read_file(&known, name, file);
        for (name, helper) in helpers {
            known.helpers.entry(name).or_default().push(helper);
        }
        known.values.extend(values);
    }
    let read = files.iter().map(|(name, file)| read_file(&known, name, file).file);
    let mut files = read.collect::<Vec<_>>();
    let near = near_hints(&files);
    for site in files.iter_mut().flat_map(|file| &mut file.sites) {
        site.is_near_hint |= near.contains(&site.place);
    }
    files
}

/// Places of functions that call one which speaks of a hint and gives an error.
fn near_hints(files: &[File]) -> HashSet<String> {
    let functions = || files.iter().flat_map(|file| &file.functions);
    let advising = functions().filter(|(_, spoken)| spoken.has_hint && spoken.gives_error);
    let advising = advising.map(|(_, spoken)| &spoken.name).collect::<HashSet<_>>();
    let calling = functions().filter(|(_, spoken)| spoken.calls.iter().any(|name| advising.contains(name)));
    calling.map(|(place, _)| place.clone()).collect()
}

fn read_file<'a>(known: &'a Known, path: &str, file: &syn::File) -> Reader<'a> {
    let mut reader = Reader {
        known,
        path: path.to_owned(),
        functions: Vec::new(),
        is_hinted: false,
        helpers: Vec::new(),
        values: HashMap::new(),
        file: File {
            sites: Vec::new(),
            texts: Vec::new(),
            has_hint: false,
            codes: HashSet::new(),
            functions: HashMap::new(),
        },
    };
    reader.visit_file(file);
    reader
}

fn list(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of src") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        match path.is_dir() {
            true if name != "fuzz" => list(&path, paths),
            false if name.ends_with(".rs") && !["tests.rs", "fuzz.rs"].contains(&&*name) => paths.push(path),
            _ => {}
        }
    }
}

fn parse(path: &Path) -> syn::File {
    let text = std::fs::read_to_string(path).expect("a file of src");
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The constants of `error::sqlstate`.
fn codes(root: &Path) -> HashMap<String, String> {
    let mut codes = HashMap::new();
    for item in parse(&root.join("src/error.rs")).items {
        let syn::Item::Mod(syn::ItemMod {
            ident,
            content: Some((_, items)),
            ..
        }) = item
        else {
            continue;
        };
        for item in items {
            if let (true, syn::Item::Const(constant)) = (ident == "sqlstate", item) {
                codes.extend(literal(&constant.expr).map(|code| (constant.ident.to_string(), code)));
            }
        }
    }
    codes
}

/// A function, or a closure with a name, that is being read.
struct Function {
    name: String,
    parameters: Vec<String>,
    first_site: usize,
    spoken: Spoken,
    variables: HashMap<String, Value>,
}

struct Reader<'a> {
    known: &'a Known,
    path: String,
    /// from the outermost to the innermost
    functions: Vec<Function>,
    /// what is read stands before a `.hint(`
    is_hinted: bool,
    helpers: Vec<(String, Helper)>,
    values: HashMap<(String, String), Value>,
    file: File,
}

impl Reader<'_> {
    fn function(&mut self, name: String, parameters: Vec<String>, body: impl FnOnce(&mut Self)) {
        let before = std::mem::take(&mut self.is_hinted);
        self.functions.push(Function {
            name,
            parameters,
            first_site: self.file.sites.len(),
            spoken: Spoken::default(),
            variables: HashMap::new(),
        });
        body(self);
        let function = self.functions.pop().expect("the function");
        for site in &mut self.file.sites[function.first_site..] {
            site.is_near_hint |= function.spoken.has_hint;
        }
        // What a closure speaks of, the function around it does.
        let name = self.functions.first().map_or(&function.name, |outer| &outer.name);
        let spoken = self.file.functions.entry(format!("{}, {name}", self.path)).or_default();
        spoken.name.clone_from(name);
        spoken.has_hint |= function.spoken.has_hint;
        spoken.gives_error |= function.spoken.gives_error;
        spoken.calls.extend(function.spoken.calls);
        self.is_hinted = before;
    }

    fn signature(&mut self, attributes: &[Attribute], signature: &syn::Signature, block: &Block) {
        if is_test(attributes) {
            return;
        }
        let typed = signature.inputs.iter().filter_map(|input| match input {
            syn::FnArg::Typed(typed) => Some(name_of(&typed.pat)),
            syn::FnArg::Receiver(_) => None,
        });
        let (name, parameters) = (signature.ident.to_string(), typed.collect());
        let text = results_of(block)
            .into_iter()
            .map(|result| self.value(result))
            .next()
            .unwrap_or_default();
        self.values.insert((self.path.clone(), name.clone()), text);
        let gives_error = matches!(&signature.output, syn::ReturnType::Type(_, of) if is_error(of));
        self.function(name, parameters, |reader| {
            reader.visit_block(block);
            if let Some(function) = reader.functions.last_mut() {
                function.spoken.gives_error = gives_error;
            }
        });
    }

    /// The error of a call of a [`Helper`].
    fn helped(&mut self, name: &str, is_path: bool, arguments: &[&Expr]) {
        let helpers = self.known.helpers.get(name).map_or(&[][..], Vec::as_slice);
        let own = helpers.iter().find(|helper| helper.path == self.path);
        let other = match helpers {
            [helper] if is_path && helper.is_public => Some(helper),
            _ => None,
        };
        if let Some(helper) = own.or(other)
            && let Some(message) = arguments.get(helper.argument)
        {
            self.site(helper.codes.clone(), Some(message), self.is_hinted || helper.has_hint);
        }
    }

    fn site(&mut self, codes: Vec<String>, message: Option<&Expr>, has_own_hint: bool) {
        // A state the code holds impossible.
        if codes == [self.known.codes["INTERNAL"].as_str()] {
            return;
        }
        let patterns = message.map(|message| self.patterns(message)).unwrap_or_default();
        let given = message.and_then(|message| match results(message)[..] {
            [Expr::Path(path)] => path.path.get_ident().map(ToString::to_string),
            _ => None,
        });
        for (depth, function) in self.functions.iter().enumerate().rev().filter(|_| patterns.is_empty()) {
            if let Some(argument) = function.parameters.iter().position(|name| Some(name) == given.as_ref()) {
                let helper = Helper {
                    path: self.path.clone(),
                    is_public: depth == 0,
                    argument,
                    codes,
                    has_hint: has_own_hint,
                };
                self.helpers.push((function.name.clone(), helper));
                return;
            }
        }
        let function = self.functions.first().map_or("a constant", |function| &function.name);
        self.file.sites.push(Site {
            place: format!("{}, {function}", self.path),
            codes,
            patterns,
            has_own_hint,
            is_near_hint: has_own_hint,
        });
    }

    /// `Error::new(…)` and its kin, and without arguments their names as values.
    fn made(&mut self, name: &str, arguments: &[&Expr]) {
        let (codes, message) = match name {
            "new" => {
                let codes = arguments.first().map(|code| self.codes(code));
                (codes.unwrap_or_default(), arguments.get(1))
            }
            name => {
                let constant = match name {
                    "bad_parameter" => "INVALID_PARAMETER_VALUE",
                    "unsupported" => "FEATURE_NOT_SUPPORTED",
                    _ => "PROTOCOL_VIOLATION",
                };
                (vec![self.known.codes[constant].clone()], arguments.first())
            }
        };
        self.file.codes.extend(codes.iter().cloned());
        self.site(codes, message.copied(), self.is_hinted);
    }

    /// What a variable, a constant or a call without consequence comes to.
    fn value_of(&self, name: &str) -> Value {
        let variables = self
            .functions
            .iter()
            .rev()
            .find_map(|function| function.variables.get(name));
        let is_parameter = || {
            self.functions
                .iter()
                .any(|function| function.parameters.iter().any(|of| of == name))
        };
        match variables {
            Some(value) => value.clone(),
            None if is_parameter() => Value::default(),
            None => {
                let key = (self.path.clone(), name.to_owned());
                self.known
                    .values
                    .get(&key)
                    .or(self.values.get(&key))
                    .cloned()
                    .unwrap_or_default()
            }
        }
    }

    fn value(&self, expression: &Expr) -> Value {
        (self.codes(expression), self.patterns(expression))
    }

    fn codes(&self, expression: &Expr) -> Vec<String> {
        let each = results(expression).into_iter().map(|result| {
            let Expr::Path(path) = result else {
                return literal(result).into_iter().collect();
            };
            let name = path
                .path
                .segments
                .last()
                .map(|segment| segment.ident.to_string())
                .unwrap_or_default();
            match self.known.codes.get(&name) {
                Some(code) => vec![code.clone()],
                None => self.value_of(&name).0,
            }
        });
        each.collect::<Vec<_>>().concat()
    }

    fn patterns(&self, expression: &Expr) -> Vec<String> {
        let each = results(expression).into_iter().map(|result| match result {
            Expr::Path(path) => path
                .path
                .get_ident()
                .map(|name| self.value_of(&name.to_string()).1)
                .unwrap_or_default(),
            Expr::Call(call) => self.patterns(&call.func),
            Expr::Closure(closure) => self.patterns(&closure.body),
            Expr::Macro(call) if call.mac.path.is_ident("format") => {
                let inside = TokenBuffer::new2(call.mac.tokens.clone());
                let format = arguments(inside.begin()).and_then(|list| literal(list.first()?));
                format.map(|text| pattern(&text)).into_iter().collect()
            }
            other => literal(other).into_iter().collect(),
        });
        each.collect::<Vec<_>>().concat()
    }

    /// Tokens that are no list of expressions, as those of `macro_rules!`.
    fn tokens(&mut self, mut at: Cursor<'_>) {
        while !at.eof() {
            if let Some((path, inside, rest)) = call(at) {
                let list = arguments(inside);
                let list = list.iter().flatten().collect::<Vec<_>>();
                self.made(&path, &list);
                at = rest;
            } else if let Some((inside, _, _, rest)) = at.any_group() {
                self.tokens(inside);
                at = rest;
            } else {
                at = at.token_tree().expect("a token").1;
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !is_test(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.signature(&item.attrs, &item.sig, &item.block);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.signature(&item.attrs, &item.sig, &item.block);
    }

    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        let value = self.value(&item.expr);
        self.values.insert((self.path.clone(), item.ident.to_string()), value);
        visit::visit_item_const(self, item);
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        let Some(init) = &local.init else {
            return;
        };
        let name = name_of(&local.pat);
        match &*init.expr {
            Expr::Closure(closure) => {
                let parameters = closure.inputs.iter().map(name_of).collect();
                self.function(name.clone(), parameters, |reader| reader.visit_expr(&closure.body));
            }
            _ => visit::visit_local_init(self, init),
        }
        let mut values = vec![(name, self.value(&init.expr))];
        if let syn::Pat::Tuple(names) = &local.pat {
            let tuples = results(&init.expr).into_iter().filter_map(|result| match result {
                Expr::Tuple(tuple) => Some(&tuple.elems),
                _ => None,
            });
            let tuples = tuples.collect::<Vec<_>>();
            values = names
                .elems
                .iter()
                .enumerate()
                .map(|(at, name)| {
                    let each = tuples
                        .iter()
                        .filter_map(|tuple| tuple.get(at))
                        .map(|value| self.value(value));
                    let (codes, patterns): (Vec<_>, Vec<_>) = each.unzip();
                    (name_of(name), (codes.concat(), patterns.concat()))
                })
                .collect();
        }
        if let Some(function) = self.functions.last_mut() {
            function.variables.extend(values);
        }
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        match &*call.func {
            Expr::Path(path) => match maker(&path.path) {
                Some(name) => self.made(&name, &call.args.iter().collect::<Vec<_>>()),
                None => {
                    if let Some(last) = path.path.segments.last().map(|segment| segment.ident.to_string()) {
                        self.helped(&last, true, &call.args.iter().collect::<Vec<_>>());
                        self.functions.iter_mut().for_each(|function| {
                            function.spoken.calls.insert(last.clone());
                        });
                    }
                    self.visit_expr(&call.func);
                }
            },
            other => self.visit_expr(other),
        }
        call.args.iter().for_each(|argument| self.visit_expr(argument));
    }

    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        if let Some(name) = maker(&path.path) {
            self.made(&name, &[]);
        }
        visit::visit_expr_path(self, path);
    }

    /// `Error { sqlstate: …, message: …, ..error }`.
    fn visit_expr_struct(&mut self, made: &'ast syn::ExprStruct) {
        let field = |name: &str| {
            made.fields
                .iter()
                .find(|field| matches!(&field.member, syn::Member::Named(of) if of == name))
        };
        if let (true, Some(message)) = (made.path.is_ident("Error"), field("message")) {
            let codes = field("sqlstate").map(|code| self.codes(&code.expr)).unwrap_or_default();
            self.site(codes, Some(&message.expr), self.is_hinted || field("hint").is_some());
        }
        visit::visit_expr_struct(self, made);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let before = self.is_hinted;
        let is_hint = call.method == "hint";
        self.is_hinted = before || is_hint;
        self.visit_expr(&call.receiver);
        self.is_hinted = before && !is_hint;
        self.helped(&call.method.to_string(), false, &call.args.iter().collect::<Vec<_>>());
        call.args.iter().for_each(|argument| self.visit_expr(argument));
        self.is_hinted = before;
        self.visit_ident(&call.method);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let inside = TokenBuffer::new2(call.tokens.clone());
        match arguments(inside.begin()) {
            Some(list) => list.iter().for_each(|argument| self.visit_expr(argument)),
            None => self.tokens(inside.begin()),
        }
    }

    fn visit_ident(&mut self, ident: &'ast syn::Ident) {
        let is_hint = ident.to_string().contains("hint");
        self.file.has_hint |= is_hint;
        self.functions
            .iter_mut()
            .for_each(|function| function.spoken.has_hint |= is_hint);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let last = path.segments.last().map(|segment| segment.ident.to_string());
        let code = last.and_then(|name| self.known.codes.get(&name));
        self.file.codes.extend(code.cloned());
        visit::visit_path(self, path);
    }

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.file.texts.push(pattern(&text.value()));
    }
}

fn is_error(of: &syn::Type) -> bool {
    matches!(of, syn::Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Error"))
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let condition = || attribute.parse_args::<syn::Ident>().is_ok_and(|name| name == "test");
        attribute.path().is_ident("test") || (attribute.path().is_ident("cfg") && condition())
    })
}

/// `new` of `crate::error::Error::new`, if it is one of those that make an error of users.
fn maker(path: &syn::Path) -> Option<String> {
    let mut names = path.segments.iter().rev().map(|segment| segment.ident.to_string());
    let (name, of) = (names.next()?, names.next()?);
    (of == "Error" && is_maker(&name)).then_some(name)
}

fn is_maker(name: &str) -> bool {
    ["new", "bad_parameter", "unsupported", "protocol"].contains(&name)
}

/// The same among tokens: the name, what is in the parentheses, and what follows.
fn call(at: Cursor<'_>) -> Option<(String, Cursor<'_>, Cursor<'_>)> {
    let (of, rest) = at.ident()?;
    let (name, rest) = rest.punct()?.1.punct()?.1.ident()?;
    let (inside, _, _, rest) = rest.any_group()?;
    (of == "Error" && is_maker(&name.to_string())).then(|| (name.to_string(), inside, rest))
}

/// What is between the parentheses of a call or macro, if it is a list of expressions.
fn arguments(inside: Cursor<'_>) -> Option<Punctuated<Expr, Token![,]>> {
    Punctuated::parse_terminated.parse2(inside.token_stream()).ok()
}

/// What an expression can come to: the ends of its branches, without what only makes another kind of string of them.
fn results(expression: &Expr) -> Vec<&Expr> {
    match expression {
        Expr::Reference(reference) => results(&reference.expr),
        Expr::Paren(inner) => results(&inner.expr),
        Expr::Group(inner) => results(&inner.expr),
        Expr::MethodCall(call) if call.args.is_empty() => results(&call.receiver),
        Expr::Block(block) => results_of(&block.block),
        Expr::If(branches) => {
            let other = branches.else_branch.iter().flat_map(|(_, other)| results(other));
            results_of(&branches.then_branch).into_iter().chain(other).collect()
        }
        Expr::Match(branches) => branches.arms.iter().flat_map(|arm| results(&arm.body)).collect(),
        other => vec![other],
    }
}

fn results_of(block: &Block) -> Vec<&Expr> {
    match block.stmts.last() {
        Some(syn::Stmt::Expr(expression, None)) => results(expression),
        _ => Vec::new(),
    }
}

fn name_of(pattern: &syn::Pat) -> String {
    match pattern {
        syn::Pat::Ident(name) => name.ident.to_string(),
        syn::Pat::Type(typed) => name_of(&typed.pat),
        _ => String::new(),
    }
}

fn literal(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Lit(syn::ExprLit {
            lit: syn::Lit::Str(text),
            ..
        }) => Some(text.value()),
        _ => None,
    }
}

/// A format as messages of it look: values as [`GAP`].
fn pattern(format: &str) -> String {
    let mut pattern = String::new();
    let mut letters = format.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '{' | '}' if letters.next_if_eq(&letter).is_some() => pattern.push(letter),
            '{' => {
                pattern.push_str(GAP);
                letters.by_ref().find(|letter| *letter == '}');
            }
            letter => pattern.push(letter),
        }
    }
    pattern
}
