# Completion for the book's verbs, in bash and zsh: source <(make completion). Made from scripts/verbs.py.
if [ -n "$ZSH_VERSION" ]; then autoload -U +X compinit bashcompinit && compinit -u && bashcompinit; fi

_book_verbs="@VERBS@"

_book_takes() {  # the variables of a verb
  case $1 in
    @TAKES@
  esac
}

_book_topics() { sed -n 's/^topic: *\([0-9][0-9]*\) *$/\1/p' chapters/*.qmd 2>/dev/null; }

_book_values() {  # the values of a variable; what is typed so far, for files
  case $1 in
    TOPIC) _book_topics ;;
    IMPL) echo workspace; compgen -f -X '!*.py' -- "$2"; compgen -d -S / -- "$2" ;;
    FILES) compgen -f -- "$2" ;;
    ONLY) sed -n 's/^train: *\[\(.*\)\] *$/\1/p' chapters/*.qmd 2>/dev/null | tr ',' '\n' | tr -d ' ' ;;
    @CHOICES@
  esac
}

_book_here() { [ -f scripts/verbs.py ] && [ -f _quarto.yml ]; }

_book_word() {  # the word at the cursor as the shell sees it, with what '=' has cut off put back: NAME=value
  local before=${COMP_LINE:0:COMP_POINT}
  printf '%s' "${before##* }"
}

_book_complete() {  # complete among the verbs and the variables of those that have been named
  local word verb given name value made=()
  word=$(_book_word)
  case $word in
    [A-Z]*=*)
      name=${word%%=*} value=${word#*=}
      COMPREPLY=($(compgen -W "$(_book_values "$name" "$value")" -- "$value"))
      case $COMP_WORDBREAKS in
        *=*) ;;
        *) for given in "${COMPREPLY[@]}"; do made+=("$name=$given"); done; COMPREPLY=("${made[@]}") ;;
      esac
      return ;;
  esac
  for given in $(printf '%s' "$COMP_LINE"); do        # zsh splits what a command says, not a variable
    case " $_book_verbs " in *" $given "*) [ "$given" = "$word" ] || verb=$given ;; esac
  done
  if [ -z "$verb" ]; then
    COMPREPLY=($(compgen -W "$_book_verbs" -- "$word"))
    return
  fi
  for name in $(_book_takes "$verb"); do
    case " $COMP_LINE" in *" $name="*) ;; *) case $name in "$word"*) COMPREPLY+=("$name=") ;; esac ;; esac
  done
  if [ -n "$COMPREPLY" ]; then compopt -o nospace 2>/dev/null; fi
}

_book_make() {
  COMPREPLY=()
  if _book_here; then
    _book_complete
  elif [ -n "$_book_before" ]; then
    "$_book_before" "$@"
  fi
}

_book_python() {
  COMPREPLY=()
  case $COMP_LINE in *" -m scripts "*) if _book_here; then _book_complete; fi ;; esac
}

# What completes make elsewhere, where something does
declare -F _completion_loader >/dev/null && _completion_loader make
_book_before=$(complete -p make 2>/dev/null | sed -n 's/.* -F \([^ ]*\) .*/\1/p')
[ "$_book_before" = _book_make ] && _book_before=

complete -o default -F _book_make make
complete -o default -F _book_python python python3 py
