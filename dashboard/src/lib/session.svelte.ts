/** Whether the server refused us: then the page asks for the token. */
export const signedOut = $state({ value: false });
