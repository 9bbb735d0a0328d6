# runtime/syscalls.awk - turns syscalls.tsv into the table of filter_calls.h
# SPDX-License-Identifier: Apache-2.0

BEGIN {
	FS = "\t"
	print "/* made from runtime/syscalls.tsv */"
	print "#include \"runtime/filter_calls.h\""
	print "const struct filter_call filter_calls[] = {"
}

/^#/ { next }

# The table is searched by halves.
$1 <= last || NF != 16 {
	printf "%s:%d: not in order, or not 16 columns\n", FILENAME, FNR > "/dev/stderr"
	failed = 1
	exit
}

{
	last = $1
	printf "\t{\"%s\", {", $1
	for (i = 2; i <= NF; i++)
		printf "%s%s", $i == "-" ? -1 : $i, i < NF ? ", " : "}},\n"
	count++
}

END {
	print "};"
	printf "const unsigned filter_call_count = %d;\n", count
	exit failed
}
