# Needs D. Removes what runs were to forget that never came to their end: their sandbox was stopped.
for f in "${D%/*}"/*/forget; do
  [ -e "$f" ] && [ ! -e "${f%forget}exit" ] || continue
  while IFS= read -r p; do rm -rf "$p"; done <"$f"
  rm -f "$f" "${f%forget}env"
done
