# Forgets what was agreed and what was cut short: the base becomes the empty tree, the workspace stays as it is.
# What a push had put aside when it was cut short stays too, and is told.
K=$(cat "$S/aside" 2>/dev/null || echo "$S/none")
if [ -n "$plain" ]; then : >"$S/plain"; else rm -f "$S/plain"; fi
rm -rf "$S/txn" "$S/txn.clear" "$S/aside" "$S/stage" "$S/index" "$S/index.n" "$S/out.tree" "$S/out.idx" &&
printf '%s' 4b825dc642cb6eb9a060e54bf8d69288fbee4904 >"$S/base.n" && mv -f "$S/base.n" "$S/base" || refuse 94 disk "no room for the base"
[ ! -e "$K" ] || say aside "$K"
say forgotten
