// TLS and SASL material from files, read anew for every session with the brokers, and what tells that the files have
// changed. Contents leave this file only for the TLS library and kafkajs; messages name files.
import { readFile, stat } from 'node:fs/promises';
import { type ConnectionOptions, createSecureContext } from 'node:tls';
import type { SASLOptions } from 'kafkajs';
import type { Config } from '../../config';
import { VxsealError } from '../../errors';
import { errnoOf } from '../../files';

export type CredentialSettings = Pick<
  Config['kafka'],
  'tls' | 'tlsCa' | 'tlsCert' | 'tlsKey' | 'saslMechanism' | 'saslUsername' | 'saslPasswordFile'
>;

export interface Credentials {
  /** Undefined: connections in clear. */
  readonly tls: ConnectionOptions | undefined;
  readonly sasl: SASLOptions | undefined;
  /** Changes with the files. */
  readonly stamp: string;
}

/** Throws VxsealError 'bus' naming the file and the remedy. */
export async function readCredentials(settings: CredentialSettings): Promise<Credentials> {
  // Before reading: what changes meanwhile is seen as a change afterwards.
  const stamp = await credentialStamp(settings);
  return { stamp, tls: await readTls(settings), sasl: await readSasl(settings) };
}

export async function credentialStamp(settings: CredentialSettings): Promise<string> {
  const { tlsCa, tlsCert, tlsKey, saslPasswordFile } = settings;
  const stamps = [tlsCa, tlsCert, tlsKey, saslPasswordFile].map(async (path) => {
    if (path === '') return '';
    // Follows links: Kubernetes changes a mounted secret by turning one.
    const found = await stat(path, { bigint: true }).catch(() => undefined);
    return found === undefined ? '-' : [found.dev, found.ino, found.size, found.mtimeNs].join(':');
  });
  return (await Promise.all(stamps)).join(' ');
}

async function readTls(settings: CredentialSettings): Promise<ConnectionOptions | undefined> {
  if (!settings.tls) return undefined;
  const ca = await readText(settings.tlsCa, 'CA certificates', false);
  const cert = await readText(settings.tlsCert, 'client certificate', false);
  const key = await readText(settings.tlsKey, 'client key', true);
  const given = {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
  try {
    return {
      secureContext: createSecureContext({ minVersion: 'TLSv1.2', ...given }),
      rejectUnauthorized: true,
    };
  } catch {
    // The library's error may quote the input.
    const files = [settings.tlsCa, settings.tlsCert, settings.tlsKey].filter((path) => path !== '');
    throw new VxsealError(
      'bus',
      `kafka: no TLS with ${files.join(', ')}: not PEM, or the key is not that of the certificate`,
      'put certificates and their key there as PEM, unencrypted',
    );
  }
}

async function readSasl(settings: CredentialSettings): Promise<SASLOptions | undefined> {
  const { saslMechanism: mechanism, saslUsername: username, saslPasswordFile } = settings;
  if (mechanism === 'none') return undefined;
  const text = (await readText(saslPasswordFile, 'SASL password', true)) ?? '';
  const password = text.replace(/\r?\n$/, '');
  if (password === '') {
    throw new VxsealError(
      'bus',
      `${saslPasswordFile}: the SASL password is empty`,
      'write the password there',
    );
  }
  return { mechanism, username, password };
}

async function readText(path: string, what: string, secret: boolean): Promise<string | undefined> {
  if (path === '') return undefined;
  try {
    if (secret && ((await stat(path)).mode & 0o027) !== 0) {
      throw new VxsealError('bus', `${path}: the ${what} is open to other users`, `chmod 600 ${path}`);
    }
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof VxsealError) throw error;
    throw new VxsealError(
      'bus',
      `${path}: the ${what} cannot be read: ${errnoOf(error) || 'unknown error'}`,
      'check that the file exists, its owner and its mode',
      { cause: error },
    );
  }
}
