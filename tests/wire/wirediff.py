#!/usr/bin/env python3
"""Differential conformance tester for RocketMQ servers. Usage: see README.md."""
import argparse
import fnmatch
import gzip
import importlib
import io
import json
import os
import pkgutil
import sys
import tempfile
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import dsl  # noqa: E402
import servers  # noqa: E402
import wire  # noqa: E402

GOLDEN = os.path.join(HERE, 'golden.json.gz')
ACCEPTED = os.path.join(HERE, 'accepted.json')


def load_scenarios():
    folder = os.path.join(HERE, 'scenarios')
    for module in sorted(m.name for m in pkgutil.iter_modules([folder])):
        importlib.import_module(f'scenarios.{module}')
    return dsl.SCENARIOS


def run_one(env, area, name, function):
    s = dsl.Scenario(env, area, name)
    started = time.monotonic()
    try:
        function(s)
        s.check('ran to the end', True)
    except Exception as error:  # a server's strange answer must not hide the other scenarios
        s.check('ran to the end', f'{type(error).__name__}: {error}')
        if env.verbose:
            traceback.print_exc()
    finally:
        s.finish()
    return {'area': area, '#seconds': round(time.monotonic() - started, 1), 'checks': s.checks}


def run_all(args):
    env = servers.Env(args)
    env.slack = args.slack
    env.verbose = args.verbose
    chosen = [x for x in load_scenarios() if any(fnmatch.fnmatch(f'{x[0]}.{x[1]}', p) for p in args.only)]
    results, lock = {}, threading.Lock()

    def lane(name):
        for area, scenario, where, function in chosen:
            if where == name:
                result = run_one(env, area, scenario, function)
                with lock:
                    results[f'{area}.{scenario}'] = result
                if args.verbose:
                    print(f"{result['#seconds']:6.1f} s  {len(result['checks']):4d} checks  {area}.{scenario}", flush=True)

    started = time.monotonic()
    try:
        env.start_all()
        ready = time.monotonic()
        # 'alone' scenarios change what all others see, so they run after the lanes.
        lanes = sorted({x[2] for x in chosen} - {'alone'})
        threads = [threading.Thread(target=lane, args=(n,)) for n in lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lane('alone')
    finally:
        env.stop_all()
    checks = sum(len(r['checks']) for r in results.values())
    return {'#peer': args.peer, '#started_in': round(ready - started, 1), '#ran_for': round(time.monotonic() - ready, 1),
            '#checks': checks, 'only': args.only, 'scenarios': dict(sorted(results.items()))}


def load(path):
    opener = gzip.open if path.endswith('.gz') else open
    with opener(path, 'rt', encoding='utf-8') as source:
        return json.load(source)


def save(path, transcript):
    text = json.dumps(transcript, indent=1, sort_keys=True, ensure_ascii=False) + '\n'
    if path.endswith('.gz'):
        with open(path, 'wb') as raw, gzip.GzipFile('', 'wb', 9, raw, 0) as out:
            out.write(text.encode())
    else:
        with open(path, 'w', encoding='utf-8') as out:
            out.write(text)


def differences(a, b, strict, path=''):
    """(path, left, right) of everything that differs, types included."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(set(a) | set(b)):
            if key.startswith('#') or (key.startswith('~') and not strict):
                continue
            sub = f'{path}.{key}' if path else key
            if key not in a:
                yield sub, '(absent)', b[key]
            elif key not in b:
                yield sub, a[key], '(absent)'
            else:
                yield from differences(a[key], b[key], strict, sub)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b)):
            yield from differences(x, y, strict, f'{path}[{i}]')
    elif type(a) is not type(b) or a != b:
        yield path, a, b


def show(value, width=300):
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= width else text[:width] + '…'


def retry(args, transcript):
    """Runs the scenarios that differ again, with more patience each time, since the machine may be busy; a scenario
    without differences then replaces the first try."""
    golden, rules = load(GOLDEN), load_rules(args)

    def failing(result):
        names = [n for n in result['scenarios'] if n in golden['scenarios']]
        return [n for n in names if compare({'only': [n], **pick(golden, n)}, {'only': [n], **pick(result, n)}, args.strict,
                                            out=io.StringIO(), rules=rules)[1]]

    def pick(source, name):
        return {'scenarios': {name: source['scenarios'][name]}}

    for patience in (2, 4, 8):
        differing = failing(transcript)
        if not differing:
            return
        wire.Connection.patience = patience
        again = run_all(argparse.Namespace(**{**vars(args), 'only': differing, 'slack': args.slack * patience}))
        for name in set(differing) - set(failing(again)):
            print(f'{name}: did not differ in another try')
            transcript['scenarios'][name] = again['scenarios'][name]


def at_path(value, path):
    for part in path.split('.'):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def accepted_paths(rules, scenario, check, left, right):
    """Patterns of paths whose difference is wanted, and the rules that say so."""
    for rule in rules:
        if 'ignore' in rule and fnmatch.fnmatchcase(scenario, rule.get('scenario', '*')) and fnmatch.fnmatchcase(check, rule.get('check', '*')):
            if all(at_path(left, p) == v for p, v in rule.get('first', {}).items()) \
                    and all(at_path(right, p) in (v if isinstance(v, list) else [v]) for p, v in rule.get('second', {}).items()):
                yield from rule['ignore']


def compare(left, right, strict=False, all_lines=False, only=('*',), out=sys.stdout, rules=()):
    """Prints differences by scenario; returns (passed, failed)."""
    passed = failed = accepted = 0
    partial = left.get('only', ['*']) != ['*'] or right.get('only', ['*']) != ['*']
    a, b = left['scenarios'], right['scenarios']
    names = set(a) & set(b) if partial else set(a) | set(b)
    for name in sorted(n for n in names if any(fnmatch.fnmatch(n, p) for p in only)):
        mine = {c['check']: c for c in a.get(name, {'checks': []})['checks']}
        other = {c['check']: c for c in b.get(name, {'checks': []})['checks']}
        lines = []
        order = [c for c in mine] + [c for c in other if c not in mine]
        for label in order:
            if label not in mine or label not in other:
                side = 'second' if label not in mine else 'first'
                if any(r.get('only') == side and fnmatch.fnmatchcase(name, r['scenario']) and fnmatch.fnmatchcase(label, r['check']) for r in rules):
                    accepted += 1
                    passed += 1
                    continue
                failed += 1
                lines.append(f'  {label}: only in the {side} transcript')
                continue
            found = list(differences(mine[label]['got'], other[label]['got'], strict))
            if found:
                patterns = list(accepted_paths(rules, name, label, mine[label]['got'], other[label]['got']))
                rest = [x for x in found if not any(fnmatch.fnmatchcase(x[0] or 'value', p) for p in patterns)]
                accepted += bool(found) and not rest
                found = rest
            if not found:
                passed += 1
                continue
            failed += 1
            lines.append(f'  {label}')
            limit = None if all_lines else 8
            for path, x, y in found[:limit]:
                lines.append(f'      {path or "value"}: {show(x)}  ->  {show(y)}')
            if limit and len(found) > limit:
                lines.append(f'      … and {len(found) - limit} more places (--all shows them)')
        if lines:
            print(f'{name}  ({len([x for x in lines if not x.startswith("      ")])} of {len(order)} differ)', file=out)
            print('\n'.join(lines), file=out)
    if accepted:
        print(f'{accepted} of the passed differ as accepted.json says', file=out)
    print(f'{passed} passed, {failed} failed', file=out)
    return passed, failed


def load_rules(args):
    return [] if args.raw else load(ACCEPTED)


def main():
    parser = argparse.ArgumentParser(prog='wirediff.py', description=__doc__)
    verbs = parser.add_subparsers(dest='verb', required=True)

    def server_options(p):
        p.add_argument('--only', action='append', default=None, help='area.scenario pattern; may be repeated')
        p.add_argument('--java', default=None, help="folder with the official servers' jars; without: fetched by Maven")
        p.add_argument('--java-version', default='4.9.7')
        p.add_argument('--bin', default='.', help='folder with mqnamesrv and mqbroker')
        p.add_argument('--work', default=None, help='folder for homes and stores (made fresh)')
        p.add_argument('--base-port', type=int, default=0, help='uses base .. base+75; without: free ones')
        p.add_argument('--slack', type=float, default=1.0, help='stretches what counts as prompt, for a busy machine')
        p.add_argument('-v', '--verbose', action='store_true')

    p = verbs.add_parser('run', help='start servers, run scenarios, write a transcript')
    server_options(p)
    p.add_argument('--peer', choices=('java', 'ours'), required=True)
    p.add_argument('--out', required=True)
    p = verbs.add_parser('golden', help='transcript of the official server, stored as the reference')
    server_options(p)
    p = verbs.add_parser('check', help='run ours and compare with the reference')
    server_options(p)
    p.add_argument('--out', default=None)
    p.add_argument('--strict', action='store_true')
    p.add_argument('--all', action='store_true')
    p.add_argument('--raw', action='store_true')
    p.add_argument('--no-retry', action='store_true', help='do not run differing scenarios again')
    p = verbs.add_parser('diff', help='compare two transcripts (a path, or the word golden)')
    p.add_argument('first')
    p.add_argument('second')
    p.add_argument('--strict', action='store_true', help='compare advisory fields too (remark texts, key quoting)')
    p.add_argument('--all', action='store_true', help='show every place of every check')
    p.add_argument('--raw', action='store_true', help='without the differences that accepted.json allows')
    p.add_argument('--only', action='append', default=None)
    p = verbs.add_parser('list', help='areas, scenarios and numbers of checks of a transcript')
    p.add_argument('transcript', nargs='?', default='golden')
    args = parser.parse_args()
    args.only = getattr(args, 'only', None) or ['*']

    if args.verb == 'diff':
        paths = [GOLDEN if x == 'golden' else x for x in (args.first, args.second)]
        _, failed = compare(load(paths[0]), load(paths[1]), args.strict, args.all, args.only, rules=load_rules(args))
        sys.exit(1 if failed else 0)
    if args.verb == 'list':
        table = {}
        for name, result in load(GOLDEN if args.transcript == 'golden' else args.transcript)['scenarios'].items():
            count = table.setdefault(result['area'], [0, 0])
            count[0] += 1
            count[1] += len(result['checks'])
        for area, (scenarios, checks) in sorted(table.items()):
            print(f'{area:14} {scenarios:4} scenarios {checks:5} checks')
        print(f'{"all":14} {sum(x[0] for x in table.values()):4} scenarios {sum(x[1] for x in table.values()):5} checks')
        return
    args.peer = {'golden': 'java', 'check': 'ours'}.get(args.verb) or args.peer
    with tempfile.TemporaryDirectory(prefix='wirediff-') as own:
        args.work = args.work or own
        transcript = run_all(args)
        if args.verb == 'check' and not args.no_retry:
            retry(args, transcript)
    print(f"{len(transcript['scenarios'])} scenarios, {transcript['#checks']} checks, servers ready in "
          f"{transcript['#started_in']} s, ran {transcript['#ran_for']} s")
    if args.verb == 'golden':
        if args.only != ['*'] and os.path.exists(GOLDEN):
            transcript['scenarios'] = {**load(GOLDEN)['scenarios'], **transcript['scenarios']}
        transcript['only'] = ['*']
        save(GOLDEN, transcript)
    elif args.out:
        save(args.out, transcript)
    if args.verb == 'check':
        _, failed = compare(load(GOLDEN), transcript, args.strict, args.all, args.only, rules=load_rules(args))
        sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
