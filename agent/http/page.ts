// The status page as one document: markup, style and script of page/ put together, and the headers that keep a
// browser from running or loading anything else. Read once; holds no data, which the page fetches from the API.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Page {
  readonly html: string;
  readonly headers: Readonly<Record<string, string>>;
}

export function loadPage(): Page {
  const read = (name: string): string => readFileSync(join(__dirname, 'page', name), 'utf8');
  const style = read('page.css');
  const script = read('page.js');
  // Functions, since "$" means something in a replacement text.
  const html = read('page.html')
    .replace('/* page.css */', () => style)
    .replace('/* page.js */', () => script);
  return { html, headers: pageHeaders(style, script) };
}

/** Content Security Policy Level 3 §2: nothing but these two texts, and requests to ourselves. */
function pageHeaders(style: string, script: string): Record<string, string> {
  const policy = [
    "default-src 'none'",
    `style-src ${hashSource(style)}`,
    `script-src ${hashSource(script)}`,
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ];
  return { 'content-security-policy': policy.join('; '), 'cache-control': 'no-cache' };
}

const hashSource = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
