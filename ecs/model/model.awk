# ecs/model/model.awk - turns a model (a .tsv beside this file) into C tables
# SPDX-License-Identifier: Apache-2.0
#
# awk -v service=NAME: defines 'const struct ecs_model ecs_model_NAME'.

BEGIN { FS = "\t" }

function fail(what) {
	printf "%s:%d: %s\n", FILENAME, FNR, what > "/dev/stderr"
	failed = 1
	exit
}

# "min=1;max=50" to the number behind 'key', or 'otherwise'.
function bound(text, key, otherwise,    parts, n, i) {
	n = split(text, parts, ";")
	for (i = 1; i <= n; i++)
		if (index(parts[i], key "=") == 1)
			return substr(parts[i], length(key) + 2)
	return otherwise
}

# A type's C words: kind, and where needed its shape or values.
function kind(t) {
	if (t in plain)
		return plain[t]
	if (t ~ /^enum:/)
		return "ECS_ENUM"
	return "ECS_STRUCTURE"
}

function details(t,    s) {
	if (t ~ /^enum:/) {
		s = substr(t, 6)
		if (!(s in enums))
			fail("no enum " s)
		return sprintf(", .values = enum_%s", s)
	}
	if (t in plain)
		return ""
	wanted[t] = FNR
	return sprintf(", .shape = &shape_%s", t)
}

BEGIN {
	plain["string"] = "ECS_STRING"; plain["integer"] = "ECS_INTEGER"; plain["long"] = "ECS_LONG"
	plain["double"] = "ECS_DOUBLE"; plain["boolean"] = "ECS_BOOLEAN"; plain["timestamp"] = "ECS_TIMESTAMP"
	plain["map<string,string>"] = "ECS_MAP"; plain["blob"] = "ECS_STRING"
	plain["document"] = "ECS_DOCUMENT"
}

/^#/ || /^$/ { next }

$1 == "operation" { operations[++operation_count] = $2; next }
$1 == "enum" { enums[$2] = $3; enum_order[++enum_count] = $2; next }

{
	if (!($1 in members)) {
		shapes[++shape_count] = $1
		members[$1] = ""
	}
	type = $3
	list = type ~ /^list</
	if (list)
		type = substr(type, 6, length(type) - 6)
	members[$1] = members[$1] sprintf("\t{.name = \"%s\", .kind = %s%s%s%s%s", $2, kind(type), details(type),
		list ? ", .list = true" : "", index($4, "r") ? ", .required = true" : "",
		index($4, "-") ? ", .refused = true" : "")
	if ($5 != "")
		members[$1] = members[$1] sprintf(", .bounded = true, .min = %s, .max = %s",
			bound($5, "min", "-9e18"), bound($5, "max", "9e18"))
	members[$1] = members[$1] "},\n"
}

END {
	if (failed)
		exit 1
	printf "/* Made from %s; do not edit. */\n#include \"ecs/model.h\"\n\n", FILENAME
	for (i = 1; i <= enum_count; i++) {
		n = split(enums[enum_order[i]], values, ",")
		printf "static const char *const enum_%s[] = {", enum_order[i]
		for (j = 1; j <= n; j++)
			printf "\"%s\", ", values[j]
		print "0};"
	}
	for (w in wanted)
		if (!(w in members))
			fail("no shape " w " (line " wanted[w] ")")
	for (i = 1; i <= shape_count; i++)
		printf "static const struct ecs_shape shape_%s;\n", shapes[i]
	for (i = 1; i <= shape_count; i++) {
		printf "static const struct ecs_member members_%s[] = {\n%s};\n", shapes[i], members[shapes[i]]
		printf "static const struct ecs_shape shape_%s = {\"%s\", members_%s, ECS_COUNT(members_%s)};\n",
			shapes[i], shapes[i], shapes[i], shapes[i]
	}
	print "static const struct ecs_shape no_members __attribute__((unused)) = {\"\", 0, 0};"
	print "static const struct ecs_operation operations[] = {"
	for (i = 1; i <= operation_count; i++) {
		request = operations[i] "Request"
		printf "\t{\"%s\", &%s},\n", operations[i], request in members ? "shape_" request : "no_members"
	}
	print "};"
	printf "const struct ecs_model ecs_model_%s = {operations, ECS_COUNT(operations)};\n", service
}
