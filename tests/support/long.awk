# Files of more than 400 lines and functions of more than 70, unit tests apart.

function end_of_file() {
    if (file != "" && lines > 400) print file ": " lines " lines"
}

FNR == 1 {
    end_of_file()
    file = FILENAME
    lines = 0
    tests = 0
    begun = 0
}

/^#\[cfg\(test\)\]/ { tests = 1 }
tests { next }
{ lines++ }

!begun && /^ *(pub(\([a-z]+\))? )?(unsafe )?(extern "[^"]*" )?fn [a-z_0-9]+/ {
    begun = FNR
    match($0, /^ */)
    indent = substr($0, 1, RLENGTH)
    name = $0
    sub(/^.*fn /, "", name)
    sub(/[^a-z_0-9].*$/, "", name)
}
begun && $0 == indent "}" {
    if (FNR - begun + 1 > 70) print FILENAME ":" begun ": " name " has " FNR - begun + 1 " lines"
    begun = 0
}
# Of a trait: without a body.
begun && FNR == begun && /;$/ { begun = 0 }

END { end_of_file() }
