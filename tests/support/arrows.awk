# Who calls whom: one line `from to` for each path of a source file that leads into another module. `level` is how many parts of a module's
# name count: 1 for the folders. Paths are `crate::…` and `super::…`, in `use` and elsewhere; comments, tests and what only tests have do not
# count. Called with the files below src/.

function module_of(file, name) {
    name = file
    sub(/^src\//, "", name)
    sub(/\.rs$/, "", name)
    sub(/\/mod$/, "", name)
    gsub(/\//, "::", name)
    return name
}

# The module that has what a path names: the longest beginning of it that is one.
function holder(path) {
    while (path != "" && !(path in modules)) {
        if (!sub(/::[^:]*$/, "", path)) path = ""
    }
    return path
}

function cut(path, parts, n, i, short) {
    n = split(path, parts, "::")
    short = parts[1]
    for (i = 2; i <= level && i <= n; i++) short = short "::" parts[i]
    return short
}

# Notes where `path`, of names only, leads.
function note(path, to) {
    sub(/^::/, "", path)
    to = holder(path)
    if (to == "" || to == "lib") return
    if (cut(to) != cut(here)) seen[cut(here) " " cut(to)] = 1
}

# Notes the paths of a list in braces, each behind `before`. Gives what follows the list.
function list(before, text, name) {
    while (text != "") {
        sub(/^[ \t\n,]+/, "", text)
        if (text ~ /^\}/) return substr(text, 2)
        if (match(text, /^[A-Za-z0-9_:]+/)) {
            name = substr(text, 1, RLENGTH)
            text = substr(text, RLENGTH + 1)
            if (text ~ /^\{/) {
                sub(/::$/, "", name)
                text = list(before "::" name, substr(text, 2))
            } else {
                sub(/^(self)$/, "", name)
                note(before "::" name)
                sub(/^ as [A-Za-z0-9_]+/, "", text)
            }
        } else {
            text = substr(text, 2)
        }
    }
    return text
}

function walk(text, path, above) {
    while (match(text, /(crate|super)::[A-Za-z0-9_:]*/)) {
        # A name that ends like that is none of these.
        above = RSTART > 1 ? substr(text, RSTART - 1, 1) : " "
        path = substr(text, RSTART, RLENGTH)
        text = substr(text, RSTART + RLENGTH)
        if (above ~ /[A-Za-z0-9_:$]/) continue
        if (path ~ /^crate/) {
            above = ""
            sub(/^crate/, "", path)
        } else {
            above = here
            while (path ~ /^(::)?super/) {
                if (!sub(/(::)?[^:]*$/, "", above)) above = ""
                sub(/^(::)?super/, "", path)
            }
        }
        if (path ~ /::$/ && text ~ /^\{/) {
            sub(/::$/, "", path)
            text = list(above path, substr(text, 2))
        } else {
            note(above path)
        }
    }
}

BEGIN {
    for (i = 1; i < ARGC; i++) {
        if (ARGV[i] ~ /\.rs$/) modules[module_of(ARGV[i])] = 1
    }
}

FNR == 1 {
    if (file != "") walk(all)
    file = FILENAME
    here = module_of(FILENAME)
    all = ""
    skip = FILENAME ~ /(^src\/fuzz|\/tests|\/sketch)(\/|\.rs$)/
}

# Unit tests stand at the end of a file.
/^#\[cfg\(test\)\]/ { tests = 1; next }
tests && /^mod [a-z_]+ \{/ { skip = 1 }
{ tests = 0 }
skip || /^[ \t]*\/\// { next }
{ all = all $0 "\n" }

END {
    walk(all)
    for (pair in seen) print pair
}
