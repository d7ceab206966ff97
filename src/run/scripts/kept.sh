# Needs ID and its places as arguments: says whether an agent's conversation of this id is kept in one of
# them, or `-` if that could not be looked at.
k=no
for p; do
  [ -e "$p" ] || continue
  grep -rqsF -e "$ID" "$p"
  case $? in 0) k=yes; break ;; 1) ;; *) k=- ;; esac
done
say agent-kept $k
