// Where does the page begin?
import { render } from "preact";
import { App } from "./app";
import "./style/tokens.css";
import "./style/base.css";
import "./style/parts.css";
import "./style/tables.css";
import "./style/environments.css";
import "./style/batches.css";
import "./style/servers.css";
import "./style/pages.css";

const root = document.getElementById("app");
if (root) render(<App />, root);
