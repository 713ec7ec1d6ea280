'use strict';
// Asks /live every two seconds and shows what changed. Everything that comes from outside goes into the page as text.
(() => {
  const every = 2000, kept = 60; // two minutes
  const $ = (id) => document.getElementById(id);
  const history = []; // {count, errors}: a second
  let last = null, paused = false, timer = 0, failures = 0;

  const element = (tag, text, kind) => {
    const e = document.createElement(tag);
    if (text !== undefined && text !== null) e.textContent = text;
    if (kind) e.className = kind;
    return e;
  };

  const number = (n, digits = 1) => n >= 1000 ? Math.round(n).toLocaleString('en') : String(+n.toFixed(n >= 10 ? 0 : digits));
  const seconds = (s) => s === undefined || s === null ? '' : s >= 1 ? number(s, 2) + ' s' : s >= 0.001 ? number(s * 1e3, 1) + ' ms' : number(s * 1e6, 0) + ' µs';
  const bytes = (n) => n >= 1e9 ? number(n / 1e9) + ' GB' : n >= 1e6 ? number(n / 1e6) + ' MB' : n >= 1e3 ? number(n / 1e3) + ' kB' : number(n, 0) + ' B';
  const since = (s) => s >= 86400 ? Math.floor(s / 86400) + ' d' : s >= 3600 ? Math.floor(s / 3600) + ' h' : s >= 60 ? Math.floor(s / 60) + ' min' : Math.floor(s) + ' s';

  // fill replaces a table's content, but not while it would pull the text from under somebody's selection.
  const fill = (id, columns, rows, empty) => {
    const table = $(id);
    const selection = document.getSelection();
    if (selection && !selection.isCollapsed && table.contains(selection.anchorNode)) return;
    const head = element('thead'), line = element('tr');
    for (const [name, kind] of columns) {
      const th = element('th', name, kind === 'number' ? 'number' : '');
      th.scope = 'col';
      line.append(th);
    }
    head.append(line);
    const body = element('tbody');
    for (const row of rows) {
      const tr = element('tr');
      row.forEach((cell, i) => tr.append(cell instanceof Node ? cell : element('td', cell, columns[i][1])));
      body.append(tr);
    }
    if (rows.length === 0) {
      const td = element('td', empty, 'quiet');
      td.colSpan = columns.length;
      const tr = element('tr');
      tr.append(td);
      body.append(tr);
    }
    table.replaceChildren(head, body);
  };

  const listeners = (s) => $('listeners').replaceChildren(...s.listeners.map((l) => {
    const card = element('article', null, 'card');
    card.append(element('h3', l.name), element('p', l.protocol + ' at ' + l.address), element('p', l.connections + (l.connections === 1 ? ' connection' : ' connections')));
    const to = l.uses.map((name) => {
      const db = s.databases.find((d) => d.name === name);
      return db ? name + ' (on ' + db.uses.join(', ') + ')' : name;
    });
    if (to.length) card.append(element('p', 'to ' + to.join(', '), 'quiet'));
    return card;
  }));

  const endpoint = (e) => {
    const li = element('li');
    li.append(element('span', e.address + ' '));
    const well = e.healthy && !e.ejected;
    li.append(element('span', well ? 'healthy' : e.ejected ? 'ejected' : 'unhealthy', 'badge ' + (well ? 'good' : 'bad')));
    const facts = [e.role];
    if (e.zone) facts.push('zone ' + e.zone);
    if (e.lag_seconds !== null) facts.push('lag ' + seconds(e.lag_seconds));
    facts.push(e.inflight + ' at work');
    if (e.version) facts.push(e.version);
    li.append(element('p', facts.join(' · '), 'quiet'));
    if (e.problem) li.append(element('p', e.problem, 'bad'));
    return li;
  };

  const clusters = (s) => $('clusters').replaceChildren(...s.clusters.map((c) => {
    const card = element('article', null, 'card'), list = element('ul');
    card.append(element('h3', c.name), element('p', c.protocol + ' cluster'));
    list.append(...c.endpoints.map(endpoint));
    card.append(list);
    return card;
  }));

  // rates compares with the state before; a restart in between starts again.
  const rates = (s) => {
    const span = last ? (Date.parse(s.time) - Date.parse(last.time)) / 1000 : 0;
    const before = new Map();
    if (span > 0 && s.uptime_seconds >= last.uptime_seconds) for (const t of last.traffic) before.set(t.listener + '\n' + t.cluster, t);
    let count = 0, errors = 0;
    const rows = s.traffic.map((t) => {
      const old = before.get(t.listener + '\n' + t.cluster);
      const per = (field) => old && span > 0 ? Math.max(0, (t[field] - old[field]) / span) : 0;
      const n = per('count'), bad = per('errors'), done = old ? t.count - old.count : 0;
      count += n;
      errors += bad;
      return [t.listener || t.cluster + ' (cluster)', t.protocol, number(n) + '/s', element('td', number(bad) + '/s', bad > 0 ? 'number bad' : 'number'),
        done > 0 ? seconds((t.seconds - old.seconds) / done) : '', bytes(per('bytes')) + '/s', t.count.toLocaleString('en'), t.errors.toLocaleString('en')];
    });
    fill('traffic-table', [['where', ''], ['protocol', ''], ['statements', 'number'], ['errors', 'number'], ['mean time', 'number'], ['bytes', 'number'], ['in all', 'number'], ['errors in all', 'number']], rows, 'Nothing has passed yet.');
    if (span > 0) {
      history.push({count, errors});
      if (history.length > kept) history.shift();
    }
    chart(count, errors);
  };

  const chart = (count, errors) => {
    const top = Math.max(1, ...history.map((h) => h.count));
    const line = (field) => history.map((h, i) => ((kept - history.length + i) * 600 / (kept - 1)).toFixed(1) + ',' + (116 - 110 * h[field] / top).toFixed(1)).join(' ');
    $('chart-count').setAttribute('points', line('count'));
    $('chart-errors').setAttribute('points', line('errors'));
    $('now-count').textContent = number(count);
    $('now-errors').textContent = number(errors);
    $('chart-top').textContent = number(top);
  };

  const statements = (s) => {
    fill('slow-table', [['time', ''], ['where', ''], ['statement', 'text'], ['took', 'number'], ['of it servers', 'number'], ['rows', 'number'], ['server', ''], ['who', ''], ['error', '']],
      s.slow.map((v) => [new Date(v.time).toLocaleTimeString(), v.listener || v.target || '', v.text, seconds(v.seconds), v.upstream_seconds ? seconds(v.upstream_seconds) : '', v.rows,
        v.endpoint || '', [v.user, v.client].filter(Boolean).join(' '), v.code ? v.code + ' ' + (v.error || '') : '']), 'None since the start.');
    fill('forms-table', [['where', ''], ['statement', 'text'], ['count', 'number'], ['errors', 'number'], ['rows', 'number'], ['total', 'number'], ['mean', 'number'], ['95 %', 'number'], ['longest', 'number']],
      s.digests.map((d) => [d.listener || d.cluster || '', d.text, d.count.toLocaleString('en'), d.errors, d.rows.toLocaleString('en'), seconds(d.total_seconds), seconds(d.mean_seconds),
        seconds(d.p95_seconds), seconds(d.max_seconds)]), 'Nothing has passed yet.');
    fill('pins-table', [['listener', ''], ['reason', ''], ['count', 'number']],
      s.pins.map((p) => [p.listener, p.reason || '(sessions pinned now)', p.count]), 'No session was ever bound to its connection.');
  };

  const rejected = (s) => {
    const r = s.rejected;
    $('rejected').hidden = !r;
    if (!r) return;
    $('rejected-about').textContent = 'Since ' + new Date(r.time).toLocaleString() + ', from ' + r.source + '. The configuration before it stays in force.';
    $('rejected-problems').replaceChildren(...(r.problems || []).map((p) => element('li', p)));
  };

  const show = (s) => {
    document.title = 'sidewire' + (s.node.id ? ' ' + s.node.id : '');
    $('about').textContent = [s.node.id, s.node.cluster, s.zone && 'zone ' + s.zone, 'version ' + s.version, 'up ' + since(s.uptime_seconds)].filter(Boolean).join(' · ');
    $('config-about').textContent = 'Version ' + s.config + ' is in force.';
    badge(s.state, s.state === 'LIVE' ? 'good' : 'warn');
    listeners(s);
    clusters(s);
    rates(s);
    statements(s);
    rejected(s);
    last = s;
    document.documentElement.dataset.shown = String(+(document.documentElement.dataset.shown || 0) + 1);
  };

  const badge = (text, kind) => {
    const b = $('state');
    if (b.textContent !== text) b.textContent = text;
    b.className = 'badge ' + kind;
  };

  const ask = async () => {
    const token = sessionStorage.getItem('token');
    const response = await fetch('live', {headers: token ? {Authorization: 'Bearer ' + token} : {}, cache: 'no-store', signal: AbortSignal.timeout(10000)});
    if (response.status === 401) {
      $('login-problem').textContent = token ? 'That is not the token.' : '';
      sessionStorage.removeItem('token');
      $('login').hidden = false;
      badge('needs a token', 'warn');
      return false;
    }
    if (!response.ok) throw new Error('HTTP ' + response.status);
    $('login').hidden = true;
    show(await response.json());
    return true;
  };

  const turn = async () => {
    clearTimeout(timer);
    if (paused || document.hidden) return;
    let again = true;
    try {
      again = await ask();
      failures = 0;
    } catch (e) {
      failures++;
      badge('unreachable', 'bad');
    }
    if (again) timer = setTimeout(turn, Math.min(every * 2 ** failures, 30000));
  };

  const pause = () => {
    paused = !paused;
    $('pause').setAttribute('aria-pressed', String(paused));
    $('pause').textContent = paused ? 'Go on' : 'Pause';
    if (paused) badge('paused', 'warn');
    turn();
  };

  $('pause').addEventListener('click', pause);
  document.addEventListener('keydown', (e) => {
    if (e.key === 'p' && !e.ctrlKey && !e.metaKey && !e.altKey && !(e.target instanceof HTMLInputElement)) pause();
  });
  document.addEventListener('visibilitychange', turn);
  $('login-form').addEventListener('submit', (e) => {
    e.preventDefault();
    sessionStorage.setItem('token', $('token').value);
    $('token').value = '';
    turn();
  });
  turn();
})();
