// What the cipher alone costs here, measured on the programs that are shipped with the tests.

export interface CipherCost {
  /** Sealing a full packet, nanoseconds. */
  readonly sealNs: number;
  readonly openNs: number;
}

export function measureCipher(): CipherCost {
  throw new Error('not measured yet');
}
