"""Plain sentences without numbers, names or anything a probe asks for, in several languages.

Made from the word lists below by one grammar per language, so that there is no limit to how
much there is, nothing to download, and the same seed always gives the same text. Within a
language every part fits every other grammatically.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator


class _Grammar(NamedTuple):
    """Parts of a sentence, separated by `|`, and how they are put together."""

    who: str
    did: str
    what: str
    where: str
    when: str
    shapes: str


_GRAMMARS = {
    "en": _Grammar(
        who="the baker|an old farmer|the young teacher|a quiet sailor|the miller|a tired doctor|"
        "the neighbour|a friendly painter|the gardener|a tall hunter|the shepherd|a clever boy",
        did="watched|painted|described|carried|cleaned|noticed|admired|repaired|found|moved|"
        "remembered|sold",
        what="the wooden fence|a heavy basket|the long rope|some dry leaves|the white curtain|"
        "a warm blanket|the empty barrel|a small boat|the broken chair|a bundle of straw|"
        "the old picture|a handful of grain",
        where="near the river|behind the mill|under the oak|at the edge of the forest|"
        "beside the well|in the kitchen|across the field|on the hill|by the harbour|"
        "in front of the church",
        when="in the morning|after the rain|on a cold evening|before supper|late in autumn|"
        "during the storm|at noon|one quiet day",
        shapes="{Who} {did} {what} {where}.|{When}, {who} {did} {what}.|"
        "{Who} {did} {what} {when}, and nobody asked why.|"
        "{When}, {who} {did} {what} {where}.|{Where}, {who} {did} {what} again.",
    ),
    "de": _Grammar(
        who="der Bäcker|ein alter Bauer|die junge Lehrerin|ein stiller Fischer|der Müller|"
        "die müde Ärztin|der Nachbar|eine freundliche Malerin|die Gärtnerin|der Hirte",
        did="betrachtete|bemalte|beschrieb|trug|säuberte|bemerkte|bewunderte|reparierte|fand|"
        "verkaufte",
        what="den hölzernen Zaun|einen schweren Korb|das lange Seil|die trockenen Blätter|"
        "den weißen Vorhang|eine warme Decke|das leere Fass|ein kleines Boot|den alten Stuhl|"
        "ein Bündel Stroh",
        where="am Fluss|hinter der Mühle|unter der Eiche|am Waldrand|neben dem Brunnen|"
        "in der Küche|auf dem Feld|auf dem Hügel|am Hafen|vor der Kirche",
        when="am Morgen|nach dem Regen|an einem kalten Abend|vor dem Essen|im späten Herbst|"
        "während des Sturms|gegen Mittag|eines Tages",
        shapes="{Who} {did} {what} {where}.|{When} {did} {who} {what}.|"
        "{When} {did} {who} {where} {what}.|{Where} {did} {who} {what}, und niemand fragte warum.",
    ),
    "fr": _Grammar(
        who="le boulanger|un vieux fermier|la jeune institutrice|un marin silencieux|le meunier|"
        "la voisine|un peintre aimable|la jardinière|le berger|une femme fatiguée",
        did="regardait|peignait|décrivait|portait|nettoyait|admirait|réparait|trouvait|déplaçait|"
        "vendait",
        what="la clôture en bois|un lourd panier|la longue corde|des feuilles sèches|"
        "le rideau blanc|une couverture chaude|le tonneau vide|un petit bateau|la vieille chaise|"
        "une botte de paille",
        where="près de la rivière|derrière le moulin|sous le chêne|au bord de la forêt|"
        "à côté du puits|dans la cuisine|sur la colline|au port|devant l'église|dans le champ",
        when="le matin|après la pluie|un soir d'hiver|avant le dîner|à la fin de l'automne|"
        "pendant la tempête|vers midi|un jour tranquille",
        shapes="{Who} {did} {what} {where}.|{When}, {who} {did} {what}.|"
        "{Where}, {who} {did} {what}.|"
        "{When}, {who} {did} {what}, et personne ne demandait pourquoi.",
    ),
    "es": _Grammar(
        who="el panadero|un viejo granjero|la joven maestra|un marinero callado|el molinero|"
        "la vecina|un pintor amable|la jardinera|el pastor|una mujer cansada",
        did="miraba|pintaba|describía|llevaba|limpiaba|admiraba|reparaba|encontraba|movía|vendía",
        what="la valla de madera|una cesta pesada|la cuerda larga|unas hojas secas|"
        "la cortina blanca|una manta caliente|el barril vacío|un barco pequeño|la silla vieja|"
        "un haz de paja",
        where="cerca del río|detrás del molino|bajo el roble|al borde del bosque|junto al pozo|"
        "en la cocina|en la colina|en el puerto|delante de la iglesia|por el campo",
        when="por la mañana|después de la lluvia|una tarde fría|antes de la cena|"
        "a finales del otoño|durante la tormenta|al mediodía|un día tranquilo",
        shapes="{Who} {did} {what} {where}.|{When}, {who} {did} {what}.|"
        "{Where}, {who} {did} {what}.|{When}, {who} {did} {what}, y nadie preguntaba por qué.",
    ),
    "pl": _Grammar(
        who="piekarz|stary rolnik|młody nauczyciel|cichy rybak|młynarz|zmęczony lekarz|sąsiad|"
        "uprzejmy malarz|ogrodnik|pasterz",
        did="oglądał|malował|opisywał|nosił|czyścił|podziwiał|naprawiał|przesuwał|sprzedawał|"
        "chwalił",
        what="drewniany płot|ciężki kosz|długą linę|suche liście|białą zasłonę|ciepły koc|"
        "pustą beczkę|małą łódkę|stare krzesło|wiązkę słomy",
        where="nad rzeką|za młynem|pod dębem|na skraju lasu|obok studni|w kuchni|na polu|"
        "na wzgórzu|w porcie|przed kościołem",
        when="rano|po deszczu|w zimny wieczór|przed kolacją|późną jesienią|podczas burzy|"
        "w południe|pewnego dnia",
        shapes="{Who} {did} {what} {where}.|{When} {who} {did} {what}.|"
        "{Where} {who} {did} {what}.|{When} {who} {did} {what}, a nikt nie pytał dlaczego.",
    ),
}

LANGUAGES = tuple(_GRAMMARS)


def sentences(rng: random.Random, language: str) -> Iterator[str]:
    """Sentences without end. Raises `KeyError` for a language not in `LANGUAGES`."""
    grammar = _GRAMMARS[language]
    slots = {name: part.split("|") for name, part in grammar._asdict().items()}
    shapes = slots.pop("shapes")
    while True:
        words = {name: rng.choice(part) for name, part in slots.items()}
        words |= {name.title(): word[0].upper() + word[1:] for name, word in words.items()}
        yield rng.choice(shapes).format_map(words)
