// Which colours and language does the page have before the program is there? Those chosen last time.
(function () {
  var root = document.documentElement;
  try {
    var theme = localStorage.getItem("portreeve.theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    var language = localStorage.getItem("portreeve.language");
    if (language === "zh") root.lang = "zh-Hans";
  } catch {
    // storage is closed: the system's own choice holds
  }
})();
