// Which entrances answer already? What is false is shown nowhere.

/** `/ws/terminal/environments/{id}`, the other end of the terminal page. */
export const TERMINAL: boolean = false;

/** The SSH gateway, one port for all environments (`gateway_command` of the connection card). */
export const GATEWAY: boolean = false;
