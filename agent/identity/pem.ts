// PEM text of RFC 7468 to and from DER. Owns the armour only.

/** Contents of every block with this label, in order; text around and other labels are passed over. */
export function decodePem(text: string, label: string): Uint8Array[] {
  const block = new RegExp(`-----BEGIN ${label}-----\\r?\\n([A-Za-z0-9+/=\\s]*?)-----END ${label}-----`, 'g');
  return [...text.matchAll(block)].map((match) => Buffer.from(match[1] ?? '', 'base64'));
}

export function encodePem(ders: readonly Uint8Array[], label: string): string {
  const blocks = ders.map((der) => {
    const lines =
      Buffer.from(der)
        .toString('base64')
        .match(/.{1,64}/g) ?? [];
    return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ''].join('\n');
  });
  return blocks.join('');
}
