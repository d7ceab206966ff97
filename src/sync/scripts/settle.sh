# Moves the base to the tree that was fetched and applied: FROM is the old one, TO the new, SEEN what the sandbox
# called the new one.
[ "$base" = "$FROM" ] || { [ "$base" != "$TO" ] || { say settled "$TO"; exit 0; }; refuse 77 stale "$base"; }
[ "$(cat "$S/out.tree" 2>/dev/null)" = "$SEEN" ] || { [ "$base" != "$TO" ] || { say settled "$TO"; exit 0; }; refuse 77 stale "$base"; }
# A settling that was killed may have moved the index already.
{ [ ! -e "$S/out.idx" ] || mv -f "$S/out.idx" "$S/index"; } &&
printf '%s' "$TO" >"$S/base.n" && mv -f "$S/base.n" "$S/base" || refuse 94 disk "no room for the base"
rm -f "$S/out.gz" "$S/m" "$S/oids"
say settled "$TO"
