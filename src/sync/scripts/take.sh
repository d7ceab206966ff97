# Sends the files and links that are asked for: WANT holds their NUL-ended names in base64, SEEN names the list they
# were chosen from. For each a letter, its bytes in lines of base64 (after `!`: it could not be read), and a dot.
[ ! -e "$S/txn" ] || refuse 76 torn "$(cat "$S/txn")"
[ "$base" = "$FROM" ] && [ "$(cat "$S/out.tree" 2>/dev/null)" = "$SEEN" ] || refuse 77 stale "$base"
printf '%s' "$WANT" | base64 -d >"$S/want" || refuse 94 disk "no room for the request"
( cd "$W" && xargs -0 sh -c 'for p do p=./$p
  if [ -L "$p" ]; then echo l; readlink -n "$p" | base64
  elif [ -f "$p" ]; then echo f; base64 <"$p" || echo "!"
  else echo -; fi
  echo .
done' sh ) <"$S/want" 2>/dev/null | gzip -1 >"$S/out.n" && mv -f "$S/out.n" "$S/out.gz" || refuse 94 disk "no room for the result"
rm -f "$S/want"
offer "$SEEN" out 0
