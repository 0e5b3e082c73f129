// The status page in a real browser (Chromium, headless): what it shows, that it stays live, that it fits a phone and
// dark mode, and that it neither loads nor runs anything foreign. VXSEAL_SCREENSHOTS=folder keeps what it looked like.
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import type { PeerStatus, Status } from '../../../agent/control/status';
import { listenTcp, type RunningServer } from '../../../agent/http/server';
import { apiParts } from '../../fakes/api';
import { FakeAgent, sampleFlow, samplePeer, sampleStatus } from '../../fakes/status';

const BROWSERS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const executablePath = BROWSERS.find((path) => existsSync(path));
// What runs in the browser; the types of its world are not loaded here.
declare const document: {
  readonly documentElement: { readonly scrollWidth: number; readonly clientWidth: number };
  readonly body: object;
  querySelector(selector: string): { readonly textContent: string } | null;
};
declare const getComputedStyle: (element: object) => { readonly backgroundColor: string };

const HOSTILE = '<img src=x onerror="document.title=1">';

const peer = (node: string, vtep: string, changes: Partial<PeerStatus> = {}): PeerStatus =>
  samplePeer({ node, vtep, epochs: { ours: [4], theirs: [7], txSpi: '0x1', rxSpis: [] }, ...changes });

/** Bytes grow from look to look, as under traffic. */
function well(): Status {
  const tick = (Date.now() / 1000) % 100_000;
  const load = (share: number) => ({
    packets: Math.round(tick * share * 9000),
    bytes: Math.round(tick * share * 12_000_000 + Math.sin(tick / 3) * share * 9_000_000),
  });
  const peers = ['node2', 'node3', 'node4', 'node5', 'node6', 'storage-a'].map((name, index) =>
    peer(name, `192.0.2.${index + 2}`, {
      rttMs: 0.13 + index * 0.11,
      sealed: load(1 / (index + 1)),
      opened: load(0.6 / (index + 1)),
      rotating: index === 3,
    }),
  );
  const base = sampleStatus({ peers });
  return { ...base, node: { ...base.node, certificateNotAfterMs: Date.now() + 20 * 86_400_000 } };
}

function broken(): Status {
  const good = well();
  const opened = { packets: 90_000_000, bytes: 90_000_000_000 };
  const silent = { rttMs: -1, loss: 1, lastOpenedAgeMs: 95_000, sinceMs: Date.now() - 83_000, opened };
  const endedMs = Date.now() - 7_200_000;
  const peers = good.peers.map((each, index): PeerStatus => {
    if (index === 1)
      return {
        ...each,
        ...silent,
        state: 'stalled',
        why: 'no packet from it is authenticated any more, and no probe is answered',
        remedy:
          'let UDP port 4500 pass between 192.0.2.1 and 192.0.2.3 both ways; see `vxseal drops` on both nodes',
      };
    if (index === 4)
      return {
        ...each,
        state: 'mtu',
        sinceMs: Date.now() - 250_000,
        loss: 0,
        why: 'small probes are answered, those of 1408 bytes are not',
        remedy: 'raise the MTU on the path between the nodes, or lower overlay.mtuBytes on all of them',
      };
    return each;
  });
  const drops = [
    {
      node: 'node3',
      reason: 'bad_icv',
      direction: 'ingress' as const,
      packets: Math.round((Date.now() / 10) % 1e6),
      bytes: 9,
    },
    { node: '', reason: 'no_peer', direction: 'egress' as const, packets: 312, bytes: 9 },
  ];
  const recentDrops = [
    sampleFlow({ atMs: Date.now() - 1200, reason: 'bad_icv', node: 'node3', unreported: 41 }),
    sampleFlow({
      atMs: Date.now() - 9000,
      reason: 'no_peer',
      direction: 'egress',
      node: '',
      pod: 'shop/cart-7d9f',
      outer: false,
      source: '10.244.1.2',
      destination: '10.244.77.9',
      protocol: 6,
      destinationPort: 5432,
    }),
  ];
  return {
    ...good,
    node: { ...good.node, certificateNotAfterMs: endedMs },
    peers,
    drops,
    recentDrops,
    readiness: {
      ready: false,
      blockers: [
        {
          name: 'identity',
          reason: `the certificate ended ${new Date(endedMs).toISOString()}`,
          remedy: 'renew it with `vxseal ca renew`: the agent reads it by itself',
        },
      ],
    },
  };
}

class LiveAgent extends FakeAgent {
  make: () => Status = well;
  override status(): Status {
    return this.make();
  }
}

const describeInBrowser = executablePath === undefined ? describe.skip : describe;
describeInBrowser(
  `in Chromium${executablePath === undefined ? ' (missing: install the package chromium)' : ''}`,
  () => {
    let agent: LiveAgent;
    let running: RunningServer;
    let browser: Browser;
    const asked: string[] = [];
    const complaints: string[] = [];

    beforeAll(async () => {
      browser = await chromium.launch({
        executablePath: executablePath ?? '',
        args: ['--no-sandbox', '--disable-gpu'],
      });
    });
    afterAll(() => browser.close());
    beforeEach(async () => {
      agent = new LiveAgent();
      running = await listenTcp(apiParts(agent), { host: '127.0.0.1', port: 0 });
      asked.length = 0;
      complaints.length = 0;
    });
    afterEach(() => running.close());

    async function open(options: BrowserContextOptions = {}): Promise<Page> {
      const page = await browser.newPage({ viewport: { width: 1200, height: 900 }, ...options });
      page.on('request', (request) => asked.push(request.url()));
      page.on('console', (message) => complaints.push(message.text()));
      page.on('pageerror', (error) => complaints.push(error.message));
      await page.goto(`http://${running.address}/`);
      await page.waitForSelector('#peers tbody tr');
      return page;
    }

    async function keep(page: Page, name: string): Promise<void> {
      const folder = process.env.VXSEAL_SCREENSHOTS;
      if (folder === undefined) return;
      // A few looks, so that there is throughput to draw.
      await page.waitForTimeout(14_000);
      mkdirSync(folder, { recursive: true });
      await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
    }

    test('a node that is well, in light', async () => {
      const page = await open({ colorScheme: 'light' });
      expect(await page.title()).toBe('node1 · vxseal');
      expect(await page.textContent('#ready')).toBe('● ready');
      expect(await page.textContent('#facts')).toContain('6 of 6 peers up · epoch 4');
      expect(await page.locator('#peers tbody tr').count()).toBe(6);
      expect(await page.locator('#map g').count()).toBe(7);
      expect(await page.isVisible('#problems')).toBe(false);
      expect(await page.textContent('#node')).toContain('ends in 19 d');
      await page.waitForFunction(() =>
        /Mb\/s/.test(document.querySelector('#peers tbody')?.textContent ?? ''),
      );
      await keep(page, 'status-light');
      expect(complaints).toEqual([]);
      // Itself and its API; nothing from anywhere else.
      expect(
        asked.filter((url) => !url.startsWith(`http://${running.address}/`) && !url.startsWith('data:')),
      ).toEqual([]);
      await page.close();
    });

    test('a cluster with faults, in dark: what, why, and what to do', async () => {
      agent.make = broken;
      const page = await open({ colorScheme: 'dark' });
      const problems = (await page.textContent('#problems')) ?? '';
      for (const text of [
        'peer node3',
        'stalled: no packet',
        'let UDP port 4500 pass',
        'peer node6',
        'mtu: small probes',
        'identity',
        'vxseal ca renew',
      ])
        expect(problems).toContain(text);
      expect(await page.textContent('#ready')).toBe('■ not ready');
      expect(await page.title()).toBe('! node1 · vxseal');
      expect(await page.textContent('#drops')).toContain('bad_icv');
      expect(await page.textContent('#recent')).toContain('10.244.1.2:51234 → 10.244.77.9:5432 TCP');
      const back = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      expect(back).toBe('rgb(13, 17, 23)');
      await keep(page, 'status-broken-dark');
      expect(complaints).toEqual([]);
      await page.close();
    });

    test('text of other nodes stays text', async () => {
      const hostile = peer(HOSTILE, '192.0.2.9', { state: 'expired', why: HOSTILE, remedy: HOSTILE });
      agent.make = () => ({ ...broken(), peers: [hostile] });
      const page = await open();
      expect(await page.locator('#peers .name').last().textContent()).toContain(HOSTILE);
      expect(await page.locator('img').count()).toBe(0);
      expect(await page.title()).toBe('! node1 · vxseal');
      await page.close();
    });

    test.each([
      [360, 'light'],
      [412, 'dark'],
    ] as const)('a phone of %d px, %s: nothing to scroll sideways', async (width, colorScheme) => {
      agent.make = broken;
      const page = await open({ viewport: { width, height: 780 }, colorScheme });
      const wide = await page.evaluate(
        () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
      );
      expect(wide).toBe(0);
      expect(await page.isVisible('#peers thead')).toBe(false);
      await keep(page, `status-narrow-${colorScheme}`);
      await page.close();
    });

    test('lives without a reload: a fault comes, goes, and then the agent itself', async () => {
      const page = await open();
      agent.make = broken;
      await page.waitForSelector('#problems:not([hidden])');
      agent.make = well;
      await page.waitForSelector('#problems[hidden]', { state: 'attached' });
      await running.close();
      await page.waitForSelector('#fresh.stale');
      expect(await page.textContent('#fresh')).toContain('does not answer');
      expect(await page.locator('#peers tbody tr').count()).toBe(6);
      running = await listenTcp(apiParts(agent), {
        host: '127.0.0.1',
        port: Number(running.address.split(':').at(-1)),
      });
      await page.waitForSelector('#fresh:not(.stale)');
      await page.close();
    });

    test('a node alone says what it waits for', async () => {
      agent.make = () => sampleStatus({ peers: [], drops: [], recentDrops: [] });
      const page = await browser.newPage();
      await page.goto(`http://${running.address}/`);
      await page.waitForSelector('#no-peers:not([hidden])');
      expect(await page.isVisible('#no-drops')).toBe(true);
      expect(await page.isVisible('#peers')).toBe(false);
      await page.close();
    });
  },
);
