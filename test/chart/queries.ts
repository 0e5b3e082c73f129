// What a PromQL query asks for: names of metrics and the labels it matches or groups by. Not a parser of the language;
// enough for queries without regular expressions over names.

const WORDS = new Set(
  'sum min max avg count by without on ignoring group_left group_right rate increase time or and unless vector bool offset histogram_quantile min_over_time max_over_time label_values le'.split(
    ' ',
  ),
);

export interface Asked {
  readonly metrics: readonly string[];
  readonly labels: readonly string[];
}

export function askedIn(query: string): Asked {
  const bare = query.replace(/"(?:[^"\\]|\\.)*"/g, '""').replace(/\[[^\]]*\]/g, '');
  const matchers = [...bare.matchAll(/\{([^}]*)\}/g)].flatMap(([, inner = '']) =>
    [...inner.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map((match) => match[1] ?? ''),
  );
  const groups = [...bare.matchAll(/\b(?:by|without|on)\s*\(([^)]*)\)/g)].flatMap(([, inner = '']) =>
    inner.split(',').map((label) => label.trim()),
  );
  const rest = bare.replace(/\{[^}]*\}/g, '').replace(/\b(?:by|without|on)\s*\([^)]*\)/g, '');
  const names = [...rest.matchAll(/[a-zA-Z_:][\w:]*/g)]
    .map(([name]) => name)
    .filter((name) => !WORDS.has(name));
  return {
    metrics: [...new Set(names)].filter((name) => name.includes('_')),
    labels: [...new Set([...matchers, ...groups])],
  };
}
