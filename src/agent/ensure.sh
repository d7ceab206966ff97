sbx_dir=$HOME/.sandbox-coder/agents
sbx_own=$sbx_dir/$sbx_name-$sbx_pinned/node_modules/.bin/$sbx_program
sbx_agent= sbx_version= sbx_old=
sbx_key() { echo "$sbx_exact $sbx_oldest $(ls -ldnL "$1" 2>/dev/null)"; }
sbx_ask() { # the version a program tells, without waiting for ever: on a busy machine some take half a minute
  if command -v timeout >/dev/null 2>&1; then set -- timeout 120 "$@"; fi
  "$@" --version </dev/null 2>/dev/null | sed -n 's/^[^0-9]*\([0-9][0-9]*\.[0-9][0-9]*\.[0-9][0-9]*\).*/\1/p' | head -n 1
}
sbx_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -t . -k 1,1n -k 2,2n -k 3,3n | head -n 1)" = "$2" ]; }
sbx_try() { # takes a program if it is one that will do
  case $1 in /*) [ -f "$1" ] && [ -x "$1" ] || return 1 ;; *) return 1 ;; esac
  sbx_version=$(sbx_ask "$1")
  [ -n "$sbx_version" ] || return 1
  if [ -n "$sbx_exact" ]; then [ "$sbx_version" = "$sbx_exact" ] || return 1
  elif ! sbx_least "$sbx_version" "$sbx_oldest"; then sbx_old=${sbx_old:-$1}; return 1; fi
  sbx_agent=$1
}
sbx_search() {
  sbx_try "$sbx_own" && return
  sbx_rest=$PATH:
  while [ -n "$sbx_rest" ]; do
    sbx_try "${sbx_rest%%:*}/$sbx_program" && return
    sbx_rest=${sbx_rest#*:}
  done
  for sbx_place in "$HOME/.local/bin" "$HOME/.$sbx_name/bin" "$HOME/.npm-global/bin" "$HOME/.bun/bin" /usr/local/bin; do
    sbx_try "$sbx_place/$sbx_program" && return
  done
  return 1
}
sbx_install() {
  command -v npm >/dev/null 2>&1 || return 1
  echo "SBX1 agent installing $sbx_name $sbx_pinned"
  sbx_tmp=$sbx_dir/.$sbx_name-$sbx_pinned.$$
  for sbx_wait in 5 0; do # npm itself tries three times
    rm -rf "$sbx_tmp"; mkdir -p "$sbx_tmp" || break
    # opencode and claude put their program in place by a script, which newer npm wants allowed by name
    printf '{"private":true,"allowScripts":{"%s":true}}\n' "$sbx_npm" >"$sbx_tmp/package.json"
    if npm install --prefix "$sbx_tmp" --no-audit --no-fund --no-update-notifier --loglevel=error \
      --fetch-retries=2 --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=10000 \
      "$sbx_npm@$sbx_pinned" </dev/null >"$sbx_tmp.log" 2>&1; then
      rm -rf "$sbx_dir/$sbx_name-$sbx_pinned"
      mv "$sbx_tmp" "$sbx_dir/$sbx_name-$sbx_pinned" && rm -f "$sbx_tmp.log" && sbx_try "$sbx_own" && return
    fi
    sleep $sbx_wait
  done
  tail -n 20 "$sbx_tmp.log" 2>/dev/null
  rm -rf "$sbx_tmp" "$sbx_tmp.log"
  echo "SBX1 agent install-failed $sbx_name $sbx_pinned"
  return 2
}
if [ -f "$sbx_dir/$sbx_name.found" ]; then # a path, its version, and what it looked like then
  { IFS= read -r sbx_agent; IFS= read -r sbx_version; IFS= read -r sbx_seen; } <"$sbx_dir/$sbx_name.found"
  [ -x "$sbx_agent" ] && [ "$sbx_seen" = "$(sbx_key "$sbx_agent")" ] || sbx_agent=
fi
if [ -z "$sbx_agent" ]; then
  mkdir -p "$sbx_dir"
  if ! sbx_search; then
    sbx_install; sbx_failed=$?
    if [ -z "$sbx_agent" ] && [ -n "$sbx_old" ] && [ -z "$sbx_exact" ]; then
      sbx_agent=$sbx_old sbx_version=$(sbx_ask "$sbx_old")
      echo "SBX1 agent note $sbx_name $sbx_version is older than $sbx_oldest, the oldest that was tried"
    elif [ $sbx_failed = 1 ]; then
      echo "SBX1 agent missing $sbx_name${sbx_exact:+ $sbx_exact}, and no npm to install it"; exit 95
    elif [ -z "$sbx_agent" ]; then exit 96; fi
  fi
  printf '%s\n%s\n%s\n' "$sbx_agent" "$sbx_version" "$(sbx_key "$sbx_agent")" >"$sbx_dir/.$sbx_name.$$" &&
    mv -f "$sbx_dir/.$sbx_name.$$" "$sbx_dir/$sbx_name.found"
fi
echo "SBX1 agent found $sbx_version $sbx_agent"
