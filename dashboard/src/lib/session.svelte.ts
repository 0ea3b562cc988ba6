/**
 * The secret this browser signed in with, in the storage of this origin: unlike a cookie it goes to no other port of the host.
 * There is none where the server knows its owner's browser by the connection.
 */
const KEY = "runstream-session";

export function session(): string {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

/** Keep a secret; "": forget it. */
export function keepSession(secret: string): void {
  if (secret) localStorage.setItem(KEY, secret);
  else localStorage.removeItem(KEY);
}

/** Whether the server refused us: then the page asks for the token. */
export const signedOut = $state({ value: false });
