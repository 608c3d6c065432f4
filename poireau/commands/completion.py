"""`completion`: what bash, zsh and fish need to complete our words, made of the parsers themselves.

A script is all there is: nothing of ours runs at a TAB. Pids are those of the control sockets in /proc/net/unix.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poireau.grammar import Verb, Word

SHELLS = ("bash", "zsh", "fish")
_PIDS = r"""sed -n 's|.* @poireau/[0-9]*/\([0-9]*\)/.*|\1|p' /proc/net/unix 2>/dev/null | sort -nu"""
_HELP = """Prints a script for that shell:

  bash   poireau completion bash > ~/.local/share/bash-completion/completions/poireau
  zsh    poireau completion zsh > a directory of $fpath/_poireau
  fish   poireau completion fish > ~/.config/fish/completions/poireau.fish

or, for now: source <(poireau completion bash). `make install` installs all three."""


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "completion",
        help="a script that has your shell complete our words",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_HELP,
    )
    verb.add_argument("shell", metavar="SHELL", choices=SHELLS, help="bash, zsh or fish")
    verb.set_defaults(act=_act)


def _act(parsed: argparse.Namespace) -> int:
    from poireau import grammar, layout, options

    verbs = grammar.verbs()
    known = [option.name for option in options.parse(layout.options_file().read_text())]
    sys.stdout.write("\n".join({"bash": _bash, "zsh": _zsh, "fish": _fish}[parsed.shell](verbs, known)) + "\n")
    return 0


def _all(verbs: Iterable[Verb]) -> Iterator[Verb]:
    for verb in verbs:
        yield verb
        yield from _all(verb.below)


def _flags(verb: Verb) -> list[str]:
    return [flag for word in verb.options for flag in word.flags]


# bash


def _bash(verbs: list[Verb], known: list[str]) -> Iterator[str]:
    yield "# bash completion of poireau, made by `poireau completion bash`."
    yield f"_poireau_pids() {{ {_PIDS}; }}"
    yield '_poireau_words() { COMPREPLY+=($(compgen -W "$1" -- "$cur")); }'
    yield '_poireau_files() { compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen "$@" -- "$cur")); }'
    yield "_poireau() {"
    yield "  local IFS=$' \\t\\n' cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} verb= place=0 word i"
    yield "  COMPREPLY=()"
    yield "  [[ $cur == = ]] && cur="
    yield "  [[ $before == = ]] && before=${COMP_WORDS[COMP_CWORD-2]}"
    yield "  for ((i = 1; i < COMP_CWORD; i++)); do"
    yield "    word=${COMP_WORDS[i]}"
    yield "    if [[ $word == -- ]]; then"
    yield "      if ((i + 1 == COMP_CWORD)); then _poireau_files -c; else _poireau_files -f; fi"
    yield "      return"
    yield "    fi"
    yield "    if [[ -z $verb ]]; then [[ $word == -* ]] || verb=$word; continue; fi"
    nested = [verb for verb in verbs if verb.below]
    if nested:
        yield "    case $verb:$word in"
        for verb in nested:
            inside = "|".join(f"{verb.name}:{each.name.split()[-1]}" for each in verb.below)
            yield f'      {inside}) verb="$verb $word"; continue ;;'
        yield "    esac"
    yield "    case $verb:${COMP_WORDS[i-1]} in"
    for verb in _all(verbs):
        valued = [f"{shlex.quote(verb.name)}:{flag}" for word in verb.options if word.metavar for flag in word.flags]
        if valued:
            yield f"      {'|'.join(valued)}) continue ;;"
    yield "    esac"
    yield "    [[ $word == [-=]* ]] || ((place++))"
    yield "  done"
    yield "  case $verb in"
    yield "  '')"
    yield f"    _poireau_words {shlex.quote(' '.join([*(verb.name for verb in verbs), 'help', '--help', '--version']))}"
    yield "    if [[ $cur == */* || $cur == .* ]]; then _poireau_files -f; fi ;;"
    yield f"  help) _poireau_words {shlex.quote(' '.join(verb.name for verb in verbs))} ;;"
    for verb in _all(verbs):
        yield f"  {shlex.quote(verb.name)})"
        takers = [word for word in verb.options if word.metavar]
        if takers:
            yield "    case $before in"
            for word in takers:
                yield f"    {'|'.join(word.flags)}) {_bash_values(word, known)}; return ;;"
            yield "    esac"
        yield f"    if [[ $cur == -* ]]; then _poireau_words {shlex.quote(' '.join(_flags(verb)))}; return; fi"
        if verb.below:
            yield f"    _poireau_words {shlex.quote(' '.join(each.name.split()[-1] for each in verb.below))}"
        places = list(verb.places)
        if verb.runs:
            yield "    _poireau_words --"
        elif places:
            yield "    case $place in"
            for number, word in enumerate(places):
                pattern = "*" if number + 1 == len(places) else str(number)
                yield f"    {pattern}) {_bash_values(word, known)} ;;"
            yield "    esac"
        yield "    ;;"
    yield "  esac"
    yield "}"
    yield "complete -F _poireau poireau poireau.py"


def _bash_values(word: Word, known: list[str]) -> str:
    from poireau import grammar

    if word.choices:
        return f"_poireau_words {shlex.quote(' '.join(word.choices))}"
    return {
        grammar.PIDS: '_poireau_words "$(_poireau_pids)"',
        grammar.TRACES: '_poireau_words "$(_poireau_pids)"; _poireau_files -f',
        grammar.FILES: "_poireau_files -f",
        grammar.DIRECTORIES: "_poireau_files -d",
        grammar.PROGRAMS: '_poireau_words "$(_poireau_pids)"; _poireau_files -c; _poireau_files -f',
        grammar.OPTIONS: f"_poireau_words {shlex.quote(' '.join(known))}",
        grammar.SETTINGS: f"compopt -o nospace; _poireau_words {shlex.quote(' '.join(f'{name}=' for name in known))}",
    }.get(word.kind, ":")


# zsh


def _zsh(verbs: list[Verb], known: list[str]) -> Iterator[str]:
    yield "#compdef poireau poireau.py"
    yield "# zsh completion of poireau, made by `poireau completion zsh`."
    yield f'_poireau_pids() {{ local -a pids; pids=(${{(f)"$({_PIDS})"}}); compadd -a pids }}'
    yield "_poireau_traces() { _alternative 'pids:pid:_poireau_pids' 'traces:trace:_files' }"
    yield "_poireau_programs() { _alternative 'pids:pid:_poireau_pids' 'programs:program:_command_names -e' }"
    yield f"_poireau_options() {{ compadd {' '.join(known)} }}"
    yield f"_poireau_settings() {{ compadd -S = {' '.join(known)} }}"
    yield "_poireau() {"
    yield "  local context state state_descr line"
    yield "  typeset -A opt_args"
    yield "  _arguments -C '(-h --help)'{-h,--help}'[say all this]' '(-V --version)'{-V,--version}'[say which]' \\"
    yield "    '1:command:->command' '*::argument:->argument'"
    yield "  case $state in"
    yield "  command)"
    yield from _zsh_names("    ", verbs)
    yield "    ;;"
    yield "  argument)"
    yield "    case $words[1] in"
    yield f"    help) (( CURRENT == 2 )) && compadd {' '.join(verb.name for verb in verbs)} ;;"
    for verb in verbs:
        yield f"    {verb.name})"
        if verb.below:
            yield "      if (( CURRENT == 2 )); then"
            yield from _zsh_names("        ", verb.below)
            yield "      else case $words[2] in"
            for each in verb.below:
                yield f"        {each.name.split()[-1]}) {_zsh_arguments(each)} ;;"
            yield "      esac; fi ;;"
        else:
            yield f"      {_zsh_arguments(verb)} ;;"
    yield "    esac ;;"
    yield "  esac"
    yield "}"
    yield 'if [[ $funcstack[1] == _poireau ]]; then _poireau "$@"; else compdef _poireau poireau poireau.py; fi'


def _zsh_names(margin: str, verbs: Iterable[Verb]) -> Iterator[str]:
    yield f"{margin}local -a names; names=("
    for verb in verbs:
        name = verb.name.split()[-1]
        yield f"{margin}  {shlex.quote(f'{name}:{verb.help}')}"
    yield f"{margin})"
    yield f"{margin}_describe command names"


def _zsh_arguments(verb: Verb) -> str:
    parts = []
    for word in verb.options:
        value = f":{word.metavar}:{_zsh_values(word)}" if word.metavar else ""
        for flag in word.flags:
            others = "*" if word.many else f"({' '.join(word.flags)})"
            equals = "=" if word.metavar and flag.startswith("--") else ""
            parts.append(shlex.quote(f"{others}{flag}{equals}[{_zsh_text(word.help)}]{value}"))
    if verb.runs:
        parts.append(shlex.quote("*::program:_normal"))
    else:
        for word in verb.places:
            start = "*" if word.many else ""
            parts.append(shlex.quote(f"{start}:{word.metavar}:{_zsh_values(word)}"))
    return " ".join(["_arguments -s", *parts])


def _zsh_values(word: Word) -> str:
    from poireau import grammar

    if word.choices:
        return f"({' '.join(word.choices)})"
    return {
        grammar.PIDS: "_poireau_pids",
        grammar.TRACES: "_poireau_traces",
        grammar.FILES: "_files",
        grammar.DIRECTORIES: "_files -/",
        grammar.PROGRAMS: "_poireau_programs",
        grammar.OPTIONS: "_poireau_options",
        grammar.SETTINGS: "_poireau_settings",
    }.get(word.kind, " ")


def _zsh_text(text: str) -> str:
    return "".join(f"\\{c}" if c in "[]:\\" else c for c in text)


# fish


def _fish(verbs: list[Verb], known: list[str]) -> Iterator[str]:
    yield "# fish completion of poireau, made by `poireau completion fish`."
    yield f"function __poireau_pids; {_PIDS}; end"
    yield "complete -c poireau -f"
    for verb in verbs:
        yield f"complete -c poireau -n __fish_use_subcommand -a {verb.name} -d {_fish_text(verb.help)}"
    yield "complete -c poireau -n __fish_use_subcommand -l version -s V -d 'say which'"
    yield f"complete -c poireau -n '__fish_seen_subcommand_from help' -a {_fish_text(' '.join(v.name for v in verbs))}"
    for verb in verbs:
        when = f"-n '__fish_seen_subcommand_from {verb.name}'"
        for each in verb.below:
            yield f"complete -c poireau {when} -a {each.name.split()[-1]} -d {_fish_text(each.help)}"
        for each in (verb, *verb.below):
            for word in each.options:
                names = " ".join(f"-l {f[2:]}" if f.startswith("--") else f"-s {f[1:]}" for f in word.flags)
                value = _fish_values(word, known, "-r") if word.metavar else ""
                yield f"complete -c poireau {when} {names}{value} -d {_fish_text(word.help)}"
            for word in each.places:
                values = _fish_values(word, known, "")
                if values:
                    yield f"complete -c poireau {when}{values}"


def _fish_values(word: Word, known: list[str], required: str) -> str:
    from poireau import grammar

    start = f" {required}" if required else ""
    if word.choices:
        return f"{start} -a {_fish_text(' '.join(word.choices))}"
    return {
        grammar.PIDS: f"{start} -a '(__poireau_pids)'",
        grammar.TRACES: f"{start} -F -a '(__poireau_pids)'",
        grammar.FILES: f"{start} -F",
        grammar.DIRECTORIES: f"{start} -a '(__fish_complete_directories)'",
        grammar.PROGRAMS: f"{start} -F -a '(__poireau_pids)'",
        grammar.OPTIONS: f"{start} -a {_fish_text(' '.join(known))}",
        grammar.SETTINGS: f"{start} -a {_fish_text(' '.join(f'{name}=' for name in known))}",
    }.get(word.kind, start)


def _fish_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
